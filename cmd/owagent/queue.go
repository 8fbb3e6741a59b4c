package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"owl/archive/member"
	"owl/archive/queue"
	"owl/internal/table"
)

// A queueRequest is what somebody wants to know of the queue, or to have done
// to it.
type queueRequest struct {
	Action    string          `json:"action"`
	Selection queue.Selection `json:"selection"`
	Limit     int             `json:"limit,omitempty"` // of list
}

// A queueAnswer answers it.
type queueAnswer struct {
	Lines     []lineStatus     `json:"destinations,omitempty"` // of list
	Standings []queue.Standing `json:"results,omitempty"`      // of list and show
	Document  json.RawMessage  `json:"document,omitempty"`     // of show, without its secrets
	Count     int64            `json:"count"`                  // of results that were retried, dropped or replayed
}

// A lineStatus says what waits for a destination, and what became of the results
// for it since the queue was opened.
type lineStatus struct {
	Name      string            `json:"name"`
	Used      bool              `json:"used"` // results go there
	Queued    int64             `json:"queued"`
	Waiting   int64             `json:"waiting"`
	Dead      int64             `json:"dead"`
	Oldest    time.Time         `json:"oldest,omitzero"`
	Delivered uint64            `json:"delivered"`
	Dropped   map[string]uint64 `json:"dropped"`
}

// queueActions are what the command queue does, each with what it does.
var queueActions = []string{"list", "show", "retry", "drop", "replay"}

// answerQueue does what was asked for to q.
func answerQueue(ctx context.Context, q *queue.Queue, req *queueRequest) (a queueAnswer, err error) {
	switch sel := req.Selection; req.Action {
	case "list":
		if a.Lines, err = linesOf(ctx, q); err != nil {
			return a, err
		}
		a.Standings, err = q.List(ctx, sel, req.Limit)
		return a, err
	case "show":
		if len(sel.IDs) != 1 {
			return a, errors.New("show: want one result")
		}
		r, standings, err := q.Show(ctx, sel.IDs[0])
		switch {
		case err != nil:
			return a, err
		case r == nil:
			return a, fmt.Errorf("result %q: there is none in the queue", sel.IDs[0])
		}
		a.Standings = standings
		a.Document, err = withoutSecrets(r.Body)
		return a, err
	case "retry":
		a.Count, err = q.Retry(ctx, sel)
	case "drop":
		a.Count, err = q.Drop(ctx, sel)
	case "replay":
		a.Count, err = q.Replay(ctx, sel)
	default:
		err = fmt.Errorf("action %q: want one of %q", req.Action, queueActions)
	}
	return a, err
}

// linesOf returns what there is for each destination of q.
func linesOf(ctx context.Context, q *queue.Queue) (lines []lineStatus, err error) {
	stats, err := q.Stats(ctx)
	for i := range stats.Lines {
		l := &stats.Lines[i]
		lines = append(lines, lineStatus{l.Name, l.Used, l.Queued, l.Waiting, l.Dead, l.Oldest, l.Delivered, l.Dropped})
	}
	return lines, err
}

// printLines prints a line for each destination.
func printLines(w io.Writer, lines []lineStatus) {
	fmt.Fprintln(w, "archive\tqueued\twaiting\tdead\tdelivered\tdropped\toldest")
	for i := range lines {
		lines[i].print(w)
	}
}

// withoutSecrets returns a document with null for what members are whose name
// begins with _.
func withoutSecrets(document []byte) ([]byte, error) {
	v, err := member.Decode(document)
	if err != nil {
		return nil, err
	}
	return json.Marshal(member.Masked(v))
}

// serveQueue answers those who ask about the queue.
func (a *agent) serveQueue(w http.ResponseWriter, r *http.Request) {
	q := a.queued()
	var req queueRequest
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req)
	var told queueAnswer
	switch {
	case err != nil:
	case q == nil:
		err = errors.New("this owagent brings no results anywhere: it has no archives")
	default:
		told, err = answerQueue(r.Context(), q, &req)
	}
	if err != nil {
		answer(w, http.StatusUnprocessableEntity, []string{err.Error()})
		return
	}
	answer(w, http.StatusOK, told)
}

// askQueue is the command queue. The agent at the socket is asked; of a file that
// was named, or where there is no agent, this process answers itself.
func askQueue(ctx context.Context, o *options, stdout io.Writer) error {
	req, err := o.queueRequest(time.Now())
	if err != nil {
		return err
	}
	var a queueAnswer
	switch {
	case o.queue != "":
		a, err = lookInto(ctx, o.queue, req)
	default:
		err = o.askAgent(ctx, req, &a)
		if _, absent := errors.AsType[*absentError](err); absent {
			a, err = lookInto(ctx, defaultQueue, req)
			if err != nil {
				err = fmt.Errorf("no owagent answers at %s (--socket), and %w (--queue)", o.socket, err)
			}
		}
	}
	if err != nil {
		return err
	}
	if o.json {
		text, err := json.MarshalIndent(a, "", "  ")
		if err != nil {
			return err
		}
		_, err = stdout.Write(append(text, '\n'))
		return err
	}
	return a.print(stdout, req)
}

// lookInto answers about the queue of a file that no process has open.
func lookInto(ctx context.Context, path string, req *queueRequest) (a queueAnswer, err error) {
	q, err := queue.Open(queue.Config{Path: path, Still: true})
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	return answerQueue(ctx, q, req)
}

// askAgent asks the agent about its queue.
func (o *options) askAgent(ctx context.Context, req *queueRequest, a *queueAnswer) error {
	text, err := json.Marshal(req)
	if err != nil {
		return err
	}
	code, body, err := ask(ctx, o.socket, http.MethodPost, "/queue", bytes.NewReader(text))
	switch {
	case err != nil:
		return err
	case code != http.StatusOK:
		return refused(o.socket, code, body)
	}
	if err := json.Unmarshal(body, a); err != nil {
		return fmt.Errorf("the answer of %s is not owagent's: %w", o.socket, err)
	}
	return nil
}

// defaultLimit is how many results are listed unless somebody says.
const defaultLimit = 50

// queueRequest returns what the command line asks for, at a time.
func (o *options) queueRequest(now time.Time) (*queueRequest, error) {
	req := &queueRequest{Action: o.operands[0], Limit: defaultLimit, Selection: queue.Selection{
		Destination: o.destination,
		State:       queue.State(o.state),
		IDs:         o.operands[1:],
	}}
	if o.limit != 0 {
		req.Limit = o.limit
	}
	var err error
	if req.Selection.Since, err = parseSince(o.since, now); err != nil {
		return nil, err
	}
	all := o.destination == "" && o.state == "" && o.since == "" && len(req.Selection.IDs) == 0
	switch {
	case !slices.Contains(queueActions, req.Action):
		return nil, fmt.Errorf("queue %s: want one of %s", req.Action, strings.Join(queueActions, ", "))
	case req.Action == "show" && len(req.Selection.IDs) != 1:
		return nil, errors.New("queue show: want the ID of a result")
	case req.Action == "drop" && all && !o.all:
		return nil, errors.New("queue drop: want results, --destination, --state or --since, or --all")
	case req.Action == "replay" && o.since == "" && len(req.Selection.IDs) == 0:
		return nil, errors.New("queue replay: want --since, or results")
	}
	return req, nil
}

// parseSince reads a time, or how long ago it was; empty: the beginning.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: want a time, as 2026-11-21T10:00:00Z, or how long ago it was, as 90m", s)
}

// print prints an answer for people.
func (a *queueAnswer) print(w io.Writer, req *queueRequest) error {
	done := map[string]string{"retry": "tried again now", "drop": "dropped", "replay": "queued once more"}[req.Action]
	if done != "" {
		_, err := fmt.Fprintf(w, "%s: %d\n", done, a.Count)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if req.Action == "list" {
		printLines(tw, a.Lines)
		fmt.Fprintln(tw)
	}
	if len(a.Standings) > 0 {
		fmt.Fprintln(tw, "result\tdestination\tstate\tcame\ttries\tnext\terror")
	}
	for i := range a.Standings {
		printStanding(tw, &a.Standings[i])
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(a.Standings) == req.Limit {
		fmt.Fprintf(w, "the first %d; --limit N shows more\n", req.Limit)
	}
	if a.Document == nil {
		return nil
	}
	var text bytes.Buffer
	if err := json.Indent(&text, a.Document, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", &text)
	return err
}

func (l *lineStatus) print(w io.Writer) {
	dropped := uint64(0)
	for _, n := range l.Dropped {
		dropped += n
	}
	name := table.Plain(l.Name)
	if !l.Used {
		name += " (not in use)"
	}
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", name, l.Queued, l.Waiting, l.Dead, l.Delivered, dropped, shortTime(l.Oldest))
}

func printStanding(w io.Writer, s *queue.Standing) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", table.Plain(s.ID), table.Plain(s.Destination), s.State, shortTime(s.Arrived), s.Tries, shortTime(s.Next), table.Plain(s.Error))
}

// shortTime returns a time as people read it; a dash is none.
func shortTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}
