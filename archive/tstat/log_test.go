package tstat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read reads a log to its end: the lines of its rows and of those that are none,
// with a - before their numbers.
func read(in io.Reader) (r *logReader, all []string, err error) {
	if r, err = newLogReader(in); err != nil {
		return nil, nil, err
	}
	for {
		w, err := r.next()
		if bad, ok := errors.AsType[*lineError](err); ok {
			all = append(all, fmt.Sprint("-", bad.line))
			continue
		}
		if errors.Is(err, io.EOF) {
			return r, all, nil
		}
		if err != nil {
			return r, all, err
		}
		all = append(all, fmt.Sprint(w.line))
	}
}

// TestLines: what is a row, and what is none.
func TestLines(t *testing.T) {
	t.Parallel()
	tooLong := strings.Repeat("x", maxLine)
	for text, want := range map[string]string{
		"":                                  "",
		"#15#c_ip:1 b:2":                    "",
		"a b\n1 2\n3 4\n":                   "2 3",
		"a b\n1 2\n3 4":                     "2 3",
		"a b\r\n1 2\r\n\r\n3 4\r\n":         "2 4",
		"a b\n1\n1 2 3\n1  2\n1 2 \n\n1 2":  "-2 -3 -4 -5 7",
		"a b\n 1\n1 \n":                     "2 3",
		"a b \n1 2\n1 2 \n1\n1 2 3 4\n":     "2 3 -4 -5",
		"a b\n1 " + tooLong + "\n1 2\n":     "-2 3",
		"a b\n1 2\n1 " + tooLong:            "2 -3",
		"a b\n" + tooLong + tooLong + "\n1": "-2 -3",
		"a b\n1 \xff\n":                     "2",
		"a b\n1 " + tooLong[2:] + "\n1 2":   "-2 3", // with its end
		"a b\n1 " + tooLong[3:] + "\n1 2":   "2 3",
		"a b\n1 " + tooLong[:maxLine-2]:     "2",
		"a b\n1 " + strings.Repeat(tooLong, 2*readAhead/maxLine) + "\n1 2": "-2 3",
	} {
		_, all, err := read(strings.NewReader(text))
		if got := strings.Join(all, " "); got != want || err != nil {
			t.Errorf("%.60q: %q, %v; want %q", text, got, err, want)
		}
	}
	if _, _, err := read(strings.NewReader(tooLong + "\n")); fmt.Sprint(err) != "line 1: more than 16384 octets: want fewer" {
		t.Error(err)
	}
}

// Columns are found by their names, whatever is around them.
func TestColumns(t *testing.T) {
	t.Parallel()
	r, _, err := read(strings.NewReader("#15#c_ip:1 ##x:y:z dup:3 dup:4\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"c_ip": 0, "x": 1, "dup": 3, "y": -1, "": -1} {
		if got := r.column(name); got != want {
			t.Errorf("%q: column %d, want %d", name, got, want)
		}
	}
}

// message returns what is sent of a log with two lines.
func message(t *testing.T, o *Options, p protocol, header, row string) (string, Total, error) {
	t.Helper()
	root := folder(t)
	dir := filepath.Join(root, "a.out")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, p.logName()), header+"\n"+row+"\n")
	var out bytes.Buffer
	total, err := Send(t.Context(), root, Dump(&out), o)
	return out.String(), total, err
}

// TestOdd: lines that are not as they are to be, of which the original loses all
// or crashes.
func TestOdd(t *testing.T) {
	t.Parallel()
	columns := strings.Fields("c_ip c_port s_ip s_port c_bytes_uniq s_bytes_uniq c_pkts_data s_pkts_data durat first last c_pkts_retx s_pkts_retx c_rtt_avg s_rtt_avg c_mss s_mss c_sack_cnt s_sack_cnt")
	good := strings.Fields("10.0.0.1 1 10.0.0.2 2 1000 2000 3 4 1.5 1455745857000.5 1455745858000 1 1 0.5 0.5 1460 1400 3 2")
	for _, c := range []struct {
		change string // column=value, or -column
		flows  int
		bad    int64
		has    string // what messages have
	}{
		{"c_port=1", 2, 0, `"tcp_mss": 1400`},
		{"c_rtt_avg=nan", 2, 0, `"tcp_rtt_avg": null`},
		{"c_rtt_avg=-", 2, 0, `"tcp_rtt_avg": "-"`},
		{"-c_rtt_avg", 2, 0, `"tcp_rtt_avg": null`},
		{"-c_mss", 2, 0, `"tcp_mss": null`},
		{"c_sack_cnt=2.0", 2, 0, "\"tcp_sack_cnt\": 2\n"}, // of two that are equal the server's
		{"-s_sack_cnt", 2, 0, `"tcp_sack_cnt": null`},
		{"c_mss=-", 0, 1, ""},
		{"c_bytes_uniq=-", 1, 1, `"num_bits": 16000`},
		{"c_bytes_uniq=nan", 1, 1, `"num_bits": 16000`},
		{"c_bytes_uniq=9223372036854775807", 1, 1, `"num_bits": 16000`},
		{"c_bytes_uniq=99999999999999999999", 1, 1, `"num_bits": 16000`},
		{"c_bytes_uniq=1000.5", 2, 0, `"num_bits": 8004.0`},
		{"first=nan", 0, 1, ""},
		{"first=1e300", 0, 1, ""},
		{"last=inf", 0, 1, ""},
		{"durat=-", 0, 1, ""},
		{"durat=inf", 0, 1, ""},
		{"durat=0.0004", 2, 0, `"bits_per_second": 0,`},
		{"durat=1000", 2, 0, `"duration": 1.0,`},
		{"c_pkts_data=0", 2, 0, `"tcp_rexmit_rate": 0,`},
		{"c_pkts_data=-", 1, 1, ""},
		{"c_pkts_retx=-", 1, 1, ""},
		{"-c_pkts_retx", 2, 0, `"tcp_rexmit_pkts": null`},
		{"s_ip=caf\xe9", 2, 0, `"dst_ip": "caf\ufffd"`},
		{"s_ip=2001:db8::1", 2, 0, `"dst_ip": "2001:db8::1"`},
		{"c_port=99999999999999999999", 2, 0, `"src_port": 99999999999999999999,`},
	} {
		var names, cells []string
		for i, name := range columns {
			cell := good[i]
			if key, value, _ := strings.Cut(c.change, "="); key == name {
				cell = value
			}
			if c.change != "-"+name {
				names, cells = append(names, name), append(cells, cell)
			}
		}
		out, total, err := message(t, options(t, 0), tcp, strings.Join(names, " "), strings.Join(cells, " "))
		if err != nil || total.Flows != c.flows || total.Unreadable != c.bad || total.Lines != 1 || total.Directories != 1 || !strings.Contains(out, c.has) {
			t.Errorf("%s: %+v, %v, want %d flows and %s in\n%s", c.change, total, err, c.flows, c.has, out)
		}
	}
	// Without these nothing can be told of a flow: the directory is not done.
	for _, name := range []string{"c_bytes_uniq", "s_bytes_uniq", "c_pkts_data", "durat", "first", "last"} {
		header := strings.Replace(" "+strings.Join(columns, " "), " "+name+" ", " x ", 1)
		_, total, err := message(t, options(t, 0), tcp, header[1:], strings.Join(good, " "))
		if fmt.Sprint(err) != "directories that were not processed: 1" || total.Failed != 1 {
			t.Errorf("without %s: %+v, %v", name, total, err)
		}
	}
}

// What is told of lines that cannot be read, and how often.
func TestTold(t *testing.T) {
	t.Parallel()
	root, _ := directory(t, lines(1)+strings.Repeat("x\n", 15))
	var log recorder
	o := options(t, 0)
	o.Log = log.logger()
	total, err := Send(t.Context(), root, Dump(io.Discard), o)
	if err != nil || total.Unreadable != 15 {
		t.Errorf("%+v, %v", total, err)
	}
	told := log.of("a line cannot be read", "error")
	if len(told) != 15 || told[0] != "line 3: 1 cells: want 11" || told[14] != "line 17: 1 cells: want 11" {
		t.Errorf("%q", told)
	}
	if n := log.warnings(); n != toldLines+2 { // one is that there is no log of UDP
		t.Errorf("%d warnings", n)
	}
	if n := log.of("lines that cannot be read", "lines"); len(n) != 1 || n[0] != "15" {
		t.Errorf("%q", n)
	}
}

// The examples in the documentation of tstat-transport.
const (
	documentedUDP = `[
    {
        "interval": 600,
        "values": {
            "duration": 0.0,
            "num_bits": 544,
            "num_packets": 1
        },
        "meta": {
            "src_ip": "198.129.77.102",
            "src_port": 123,
            "dst_ip": "198.124.252.130",
            "dst_port": 123,
            "protocol": "udp"
        },
        "start": 1455745857,
        "end": 1455745857
    }
]
`
	documentedTCP = `[
    {
        "interval": 600,
        "values": {
            "duration": 191.796,
            "num_bits": 22120,
            "num_packets": 14,
            "tcp_rexmit_bytes": 0,
            "tcp_rexmit_pkts": 0,
            "tcp_rtt_avg": 4.442,
            "tcp_rtt_min": 0.007,
            "tcp_rtt_max": 39.094,
            "tcp_rtt_std": 10.648,
            "tcp_pkts_rto": 0,
            "tcp_pkts_fs": 0,
            "tcp_pkts_reor": 0,
            "tcp_pkts_dup": 0,
            "tcp_pkts_unk": 0,
            "tcp_pkts_fc": 0,
            "tcp_pkts_unrto": 0,
            "tcp_pkts_unfs": 0,
            "tcp_cwin_min": 16,
            "tcp_cwin_max": 960,
            "tcp_out_seq_pkts": 0,
            "tcp_window_scale": 7,
            "tcp_mss": 1460,
            "tcp_max_seg_size": 960,
            "tcp_min_seg_size": 16,
            "tcp_win_max": 960,
            "tcp_win_min": 16,
            "tcp_initial_cwin": 21
        },
        "meta": {
            "src_ip": "198.128.14.246",
            "src_port": 58635,
            "dst_ip": "198.129.77.102",
            "dst_port": 22,
            "protocol": "tcp"
        },
        "start": 1455698490,
        "end": 1455698490
    }
]
`
)

// TestDocumented: the objects of the documentation, from logs that give them.
func TestDocumented(t *testing.T) {
	t.Parallel()
	o := options(t, 1)
	o.Format = Documented
	out, _, err := message(t, o, udp, "#c_ip:1 c_port:2 c_first_abs:3 c_durat:4 c_bytes_all:5 c_pkts_all:6 s_ip:10 s_port:11 s_first_abs:12 s_durat:13 s_bytes_all:14 s_pkts_all:15",
		"198.129.77.102 123 1455745857123.899902 0.000000 68 1 198.124.252.130 123 0.000000 0.000000 0 0")
	if d := cmp.Diff(documentedUDP, out); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	row := "198.128.14.246 58635 198.129.77.102 22 2765 0 14 12 191.796000 1455698490123.456055 1455698490315.252055 0 0 0 4.442123 0.0071 39.094 10.6476 " +
		"0 0 0 0 0 0 0 0 16 960 7 1460 1460 960 16 21"
	out, _, err = message(t, o, tcp, "c_ip c_port s_ip s_port c_bytes_uniq s_bytes_uniq c_pkts_data s_pkts_data durat first last c_bytes_retx c_pkts_retx c_pkts_ooo "+
		"c_rtt_avg c_rtt_min c_rtt_max c_rtt_std c_pkts_rto c_pkts_fs c_pkts_reor c_pkts_dup c_pkts_unk c_pkts_fc c_pkts_unrto c_pkts_unfs "+
		"c_cwin_min c_cwin_max c_win_scl c_mss s_mss c_mss_max c_mss_min c_cwin_ini", row)
	if d := cmp.Diff(documentedTCP, out); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

// FuzzLog: whatever is in a log, what is sent of it is JSON, and each line is
// counted once.
func FuzzLog(f *testing.F) {
	text, err := os.ReadFile("testdata/tree/2016_02_17_14_54.out/log_tcp_complete")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, false)
	f.Add([]byte(lines(1, 2)), false)
	f.Add([]byte("c_ip c_port s_ip s_port c_first_abs s_first_abs c_durat s_durat c_bytes_all s_bytes_all c_pkts_all s_pkts_all\n1 2 3 4 5 6 7 8 9 10 11 12\n"), true)
	f.Add([]byte("a \n\n\r\n \n\x00\n"), true)
	f.Fuzz(func(t *testing.T, text []byte, isUDP bool) {
		p := tcp
		if isUDP {
			p = udp
		}
		l, err := openLog(bytes.NewReader(text), p, options(t, -1<<60))
		if err != nil {
			return
		}
		var s slice
		for {
			w, err := l.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if _, ok := errors.AsType[*lineError](err); ok {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if at := text[w.offset:]; !bytes.HasPrefix(at, w.text) {
				t.Fatalf("line %d is not at %d", w.line, w.offset)
			}
			for _, d := range directions {
				_, _ = s.add(l, w, d)
			}
		}
		if s.flows == 0 {
			return
		}
		if !json.Valid(append(s.body, "\n]"...)) {
			t.Errorf("no JSON: %s", s.body)
		}
	})
}
