package tstat

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// A direction is that of a flow.
type direction uint8

const (
	fromClient direction = iota
	fromServer
)

// directions are both, in the order of their objects.
var directions = [...]direction{fromClient, fromServer}

// letter is what the names of the direction's columns begin with.
func (d direction) letter() string { return "cs"[d : d+1] }

func (d direction) String() string {
	if d == fromClient {
		return "client to server"
	}
	return "server to client"
}

// A flowLog is a log whose columns are those of flows.
type flowLog struct {
	*logReader
	protocol protocol
	options  *Options
	head     string // of an object
	tail     string // of its meta
	both     [2]columns
	flow     flow // that is looked at
}

// columns are where what is known of a direction is in a row; -1: nowhere.
type columns struct {
	ip, port, octets, packets int
	millis                    int // how long it took, in ms
	first                     int // when it began, in ms since 1970
	last                      int // of a TCP connection, when it ended
	retransmitted, mss, sack  int
	fields                    []placed
}

// A placed field is one with its column.
type placed struct {
	key    string // with what is before it
	column int
	made   func(*flow) (value, error)
}

// openLog reads the first line of a log. It is an error if columns are missing
// without which no flow can be told of.
func openLog(in io.Reader, p protocol, o *Options) (*flowLog, error) {
	r, err := newLogReader(in)
	if err != nil {
		return nil, err
	}
	l := &flowLog{logReader: r, protocol: p, options: o, head: objectIndent + "{", tail: o.tail()}
	if o.Format != Documented {
		l.head += memberIndent + `"type": "flow",`
	}
	l.head += memberIndent + `"interval": 600,` + memberIndent + `"values": {`
	if len(r.columns) == 0 { // and so no rows
		return l, nil
	}
	l.flow.log = l
	for _, d := range directions {
		if err := l.place(d); err != nil {
			return nil, &lineError{1, err}
		}
	}
	return l, nil
}

// place finds the columns of a direction.
func (l *flowLog) place(d direction) error {
	var missing error
	need := func(name string) int {
		column := l.column(name)
		if column < 0 && missing == nil {
			missing = fmt.Errorf("there is no column %s: want the columns of a log of %v flows", name, l.protocol)
		}
		return column
	}
	own := d.letter() + "_"
	c := &l.both[d]
	*c = columns{
		ip: l.column(own + "ip"), port: l.column(own + "port"),
		retransmitted: l.column(own + "pkts_retx"), mss: l.column(own + "mss"), sack: l.column(own + "sack_cnt"),
	}
	all := fields
	if l.protocol == tcp {
		c.octets, c.packets = need(own+"bytes_uniq"), need(own+"pkts_data")
		c.millis, c.first, c.last = need("durat"), need("first"), need("last")
	} else {
		c.octets, c.packets = need(own+"bytes_all"), need(own+"pkts_all")
		c.millis, c.first = need(own+"durat"), need(own+"first_abs")
		all = fields[:ofEvery]
	}
	for _, f := range all {
		if f.since > l.options.Format {
			continue
		}
		p := placed{key: innerIndent + `"` + f.name + `": `, column: l.column(own + f.from), made: f.made}
		if len(c.fields) > 0 {
			p.key = "," + p.key
		}
		c.fields = append(c.fields, p)
	}
	return missing
}

// resume goes back to the line of a position in the log's file, if that is still
// the same.
func (l *flowLog) resume(file io.ReadSeeker, at *position) (same bool, err error) {
	if err := l.skip(file, at.Offset, at.Line); err != nil {
		return false, err
	}
	text, err := l.read()
	_, tooLong := errors.AsType[*lineError](err)
	switch {
	case errors.Is(err, io.EOF) || tooLong:
		return false, nil
	case err != nil || lineSum(text) != at.Sum:
		return false, err
	}
	return true, l.skip(file, at.Offset, at.Line)
}

// A flow is one direction of a row.
type flow struct {
	log     *flowLog
	row     *row
	columns *columns
	other   *columns
	bits    value
	packets value
	millis  value   // how long it took
	seconds float64 // the same, with two decimals
}

// appendObject appends the object of a direction of a row, with what is before it
// in an array but for a comma. It reports whether there is one: the direction has
// carried enough. An error says what in the row is not as it is to be, and dst is
// as it was.
func (l *flowLog) appendObject(dst []byte, w *row, d direction) (_ []byte, ok bool, err error) {
	f := &l.flow
	f.row, f.columns, f.other = w, &l.both[d], &l.both[1-d]
	if f.bits, err = eightfold(w.cell(f.columns.octets)); err != nil {
		return dst, false, fmt.Errorf("%v: octets: %w", d, err)
	}
	if enough, err := f.bits.atLeast(l.options.Bits); err != nil || !enough {
		return dst, false, err
	}
	begin := len(dst)
	if dst, err = f.append(dst); err != nil {
		return dst[:begin], false, fmt.Errorf("%v: %w", d, err)
	}
	return dst, true, nil
}

// append appends the flow's object.
func (f *flow) append(dst []byte) (_ []byte, err error) {
	f.packets = f.row.cell(f.columns.packets)
	f.millis = f.row.cell(f.columns.millis)
	millis, err := f.millis.number()
	if err != nil {
		return dst, fmt.Errorf("duration: %w", err)
	}
	if math.Abs(millis) > latest {
		return dst, fmt.Errorf("duration: %s: want one in ms", f.millis.describe())
	}
	f.seconds = round(millis/1000, 2)
	begin, end, err := f.times()
	if err != nil {
		return dst, err
	}
	dst = append(dst, f.log.head...)
	for i := range f.columns.fields {
		p := &f.columns.fields[i]
		dst = append(dst, p.key...)
		if p.made == nil {
			dst = f.row.cell(p.column).appendJSON(dst)
			continue
		}
		v, err := p.made(f)
		if err != nil {
			return dst, err
		}
		dst = v.appendJSON(dst)
	}
	dst = append(dst, memberIndent+"},"+memberIndent+`"meta": {`+innerIndent+`"src_ip": `...)
	dst = f.row.cell(f.columns.ip).appendJSON(dst)
	dst = append(dst, ","+innerIndent+`"src_port": `...)
	dst = f.row.cell(f.columns.port).appendJSON(dst)
	dst = append(dst, ","+innerIndent+`"dst_ip": `...)
	dst = f.row.cell(f.other.ip).appendJSON(dst)
	dst = append(dst, ","+innerIndent+`"dst_port": `...)
	dst = f.row.cell(f.other.port).appendJSON(dst)
	dst = append(dst, ","+innerIndent+`"protocol": "`...)
	dst = append(dst, f.log.protocol.String()...)
	dst = append(dst, '"')
	dst = append(dst, f.log.tail...)
	dst = append(dst, ","+memberIndent+`"start": `...)
	dst = value{kind: integer, n: begin}.appendJSON(dst)
	dst = append(dst, ","+memberIndent+`"end": `...)
	dst = value{kind: integer, n: end}.appendJSON(dst)
	return append(dst, objectIndent+"}"...), nil
}

// eightfold returns how many bits some octets are.
func eightfold(v value) (value, error) {
	switch {
	case v.kind == integer && v.n > math.MaxInt64/8, v.kind == integer && v.n < math.MinInt64/8:
		return v, fmt.Errorf("%s: want fewer", v.describe())
	case v.kind == integer:
		return value{kind: integer, n: 8 * v.n}, nil
	}
	f, err := v.number()
	return value{kind: float, f: 8 * f}, err
}

// atLeast reports whether v is n or more.
func (v value) atLeast(n int64) (bool, error) {
	less, err := v.less(value{kind: integer, n: n})
	return !less, err
}

// duration returns how long the flow took.
func (f *flow) duration() (value, error) {
	if f.log.options.Format == Documented {
		return f.millis, nil
	}
	return value{kind: float, f: f.seconds}, nil
}

// rate returns how much of v there was in a second; 0 if the flow took no time.
func (f *flow) rate(v value) (value, error) {
	if f.millis.isZero() {
		return value{kind: integer}, nil
	}
	n, err := v.number()
	if err != nil {
		return v, fmt.Errorf("a rate: %w", err)
	}
	millis, err := f.millis.number()
	return ofFloat(round(n/(millis/1000), 2)), err
}

// retransmitted returns the part of the packets that was sent again.
func (f *flow) retransmitted() (value, error) {
	again := f.row.cell(f.columns.retransmitted)
	if again.isZero() || f.packets.isZero() {
		return value{kind: integer}, nil
	}
	n, err := again.number()
	if err != nil {
		return again, fmt.Errorf("retransmitted packets: %w", err)
	}
	all, err := f.packets.number()
	if err != nil {
		return again, fmt.Errorf("packets: %w", err)
	}
	return ofFloat(n / all), nil
}

// segmentSize returns the smaller one of what both ends allow.
func (f *flow) segmentSize() (value, error) {
	client, server, ok := f.ofEnds(func(c *columns) int { return c.mss })
	if !ok {
		return value{}, nil
	}
	less, err := server.less(client)
	switch {
	case err != nil:
		return value{}, fmt.Errorf("segment size: %w", err)
	case less:
		return server, nil
	}
	return client, nil
}

// selective returns the larger one of how many selective acknowledgements both
// ends have sent.
func (f *flow) selective() (value, error) {
	client, server, ok := f.ofEnds(func(c *columns) int { return c.sack })
	if !ok {
		return value{}, nil
	}
	less, err := server.less(client)
	switch {
	case err != nil:
		return value{}, fmt.Errorf("selective acknowledgements: %w", err)
	case less:
		return client, nil
	}
	return server, nil
}

// ofEnds returns what a column is of both ends, whichever the direction is, if
// the log has it of both.
func (f *flow) ofEnds(column func(*columns) int) (client, server value, ok bool) {
	c, s := column(&f.log.both[fromClient]), column(&f.log.both[fromServer])
	if c < 0 || s < 0 {
		return value{}, value{}, false
	}
	return f.row.cell(c), f.row.cell(s), true
}

// times returns when the flow began and ended, in s since 1970.
func (f *flow) times() (begin, end int64, err error) {
	if begin, err = wholeSeconds(f.row.cell(f.columns.first)); err != nil {
		return 0, 0, fmt.Errorf("begin: %w", err)
	}
	if f.log.protocol == udp {
		return begin, int64(float64(begin) + f.seconds), nil
	}
	if end, err = wholeSeconds(f.row.cell(f.columns.last)); err != nil {
		return 0, 0, fmt.Errorf("end: %w", err)
	}
	return begin, end, nil
}

// wholeSeconds returns a time in ms as one in s, cut off.
func wholeSeconds(v value) (int64, error) {
	millis, err := v.number()
	if err != nil {
		return 0, err
	}
	if math.Abs(millis) > latest {
		return 0, fmt.Errorf("%s: want a time in ms since 1970", v.describe())
	}
	return int64(millis / 1000), nil
}

// latest bounds a time and a duration, in ms: some thousands of years.
const latest = 1e15

// ofFloat returns a float as a value.
func ofFloat(f float64) value {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return value{kind: notFinite}
	}
	return value{kind: float, f: f}
}
