package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"owl/cmd/internal/archiving/archivingtest"
	"owl/internal/testprog"
)

// TestArchive: the results of sessions, in both directions, come to where the file
// says, wait where nobody takes them, and people can look at them; a new file
// brings them elsewhere.
func TestArchive(t *testing.T) {
	t.Parallel()
	peer := start(t, serverHalf)
	to := archivingtest.New(t)
	const file = "host: here\nmetrics: 127.0.0.1:0\n" + short + `
streams: [{name: both, peer: %q, direction: both, part: 5, dir: files}]
queue: {path: %q, keep: 1h}
archives:
`
	web := fmt.Sprintf("  - {archiver: http, data: {_url: %q}}\n", strings.Replace(to.URL, "http://", "http://user:geheim@", 1))
	path := filepath.Join(t.TempDir(), "queue.db")
	text := fmt.Sprintf(file, peer.server, path)
	a := start(t, text+web+"  - {archiver: tcp, schema: 3, label: nobody, data: {host: 127.0.0.1, port: 1}}\n")
	for _, flip := range []bool{true, false} {
		for _, r := range to.Await(t, 2, func(r *archivingtest.Result) bool { return r.Result.Succeeded && r.Test.Spec.Flip == flip }) {
			all := 0
			for _, n := range r.Result.Latency {
				all += n
			}
			// Those of the same second are one result.
			if n := r.Result.Sent; n == 0 || n%20 != 0 || r.Result.Received != n || all != n || r.Result.Owl.Part != nil {
				t.Errorf("%+v, want sessions of 20 packets", r)
			}
		}
	}
	code, stdout, stderr := a.ask(t, "queue", "list", "--json", "--destination", "nobody", "--limit", "2")
	var list queueAnswer
	if err := json.Unmarshal([]byte(stdout), &list); code != 0 || stderr != "" || err != nil {
		t.Fatalf("queue list: code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if len(list.Standings) != 2 || !strings.HasSuffix(list.Standings[0].Error, "connection refused") || len(list.Lines) != 2 {
		t.Errorf("queue list: %+v", list)
	}
	id := list.Standings[0].ID
	if st := a.status(t); len(st.Archives) != 2 || st.Archives[0].Name != "http" || st.Archives[0].Delivered < 4 || st.Archives[1].Waiting+st.Archives[1].Queued < 4 {
		t.Errorf("status: %+v", st.Archives)
	}
	body := testprog.Scrape(t, a.metrics)
	for _, want := range []string{`owl_archive_delivered_total{destination="http"} `, `owl_archive_waiting{destination="nobody"} `} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s among the metrics", want)
		}
	}
	code, stdout, stderr = a.ask(t, "queue", "show", id)
	if code != 0 || stderr != "" || !strings.Contains(stdout, `"id": "`+id+`"`) || !strings.Contains(stdout, "connection refused") {
		t.Errorf("queue show: code %d\n%s%s", code, stdout, stderr)
	}
	for _, ask := range []struct {
		args []string
		want string
	}{
		{[]string{"drop", id, "--destination", "nobody"}, "dropped: 1\n"},
		{[]string{"drop", id, "--destination", "nobody"}, "dropped: 0\n"},
		{[]string{"replay", id, "--destination", "http"}, "queued once more: 1\n"},
	} {
		if code, stdout, stderr := a.ask(t, append([]string{"queue"}, ask.args...)...); code != 0 || stdout != ask.want || stderr != "" {
			t.Errorf("queue %q: code %d\n%s%s", ask.args, code, stdout, stderr)
		}
	}
	to.Await(t, 2, func(r *archivingtest.Result) bool { return r.ID == id })
	if code, _, stderr := a.ask(t, "queue", "show", "nothing"); code != 1 || stderr != "owagent: result \"nothing\": there is none in the queue\n" {
		t.Errorf("queue show of nothing: code %d\n%s", code, stderr)
	}

	// A file that is wrong changes nothing; one that is right does.
	other := archivingtest.New(t)
	a.write(t, text+"  - {archiver: http, data: {_url: 7}}\n")
	code, stdout, stderr = a.ask(t, "reload")
	if want := "owagent: " + a.config + ":9: archives: /data/_url: "; code != 1 || stdout != "" || !strings.Contains(stderr, want) {
		t.Errorf("reload: code %d, want %s\n%s%s", code, want, stdout, stderr)
	}
	a.write(t, text+fmt.Sprintf("  - {archiver: http, data: {_url: %q}}\n", other.URL)+"archive_each: subsession\n")
	if code, stdout, stderr := a.ask(t, "reload"); code != 0 || stdout != "streams: 0 added, 2 changed, 0 removed, 0 go on\n" {
		t.Errorf("reload: code %d\n%s%s", code, stdout, stderr)
	}
	for _, r := range other.Await(t, 4, func(r *archivingtest.Result) bool { return r.Result.Owl.Part != nil }) {
		// Those of the same second are one result.
		if r.Result.Sent == 0 || r.Result.Sent%5 != 0 {
			t.Errorf("%+v, want parts of 5 packets", r)
		}
	}
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := a.Stderr.String(); strings.Contains(log, "geheim") {
		t.Errorf("the log has a password\n%s", log)
	}
	code, stdout, stderr = owl(t, "queue", "list", "--queue", path, "--destination", "nobody")
	if code != 0 || !strings.Contains(stdout, "nobody (not in use)") || stderr != "" {
		t.Errorf("queue list of the file: code %d\n%s%s", code, stdout, stderr)
	}
	peer.Terminate(t)
}

// owl runs a command of owagent.
func owl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := testprog.Start(t, exec.Command("owagent", args...))
	code = p.ExitCode(t)
	return code, p.Stdout.String(), p.Stderr.String()
}

// TestArchiveFiles: documents of pScheduler come to an archive, each once, however
// they are separated.
func TestArchiveFiles(t *testing.T) {
	t.Parallel()
	to := archivingtest.New(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "results")
	text := `{"id": "one", "result": {"succeeded": true, "packets-sent": 7}}` + "\n\x1e" +
		`{"id": "two", "result": {"succeeded": false, "error": "why"}}` + "\x1e" + `{"id": "one", "result": {}}`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	queue := filepath.Join(dir, "queue")
	spec := to.Spec()
	code, stdout, stderr := owl(t, "archive", "--archive", spec, "--queue", queue, file)
	want := "3 results read\n1 of them were in " + queue + " already, and go only where they were to go then\nhttp: 2 delivered, 0 discarded, 0 to be tried again, 0 dead\n"
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
	got := to.Await(t, 2, archivingtest.All)
	slices.SortFunc(got, func(a, b archivingtest.Result) int { return cmp.Compare(a.ID, b.ID) })
	if len(got) != 2 || got[0].ID != "one" || got[0].Result.Sent != 7 || got[1].ID != "two" || got[1].Result.Error != "why" {
		t.Errorf("%+v", got)
	}
	for _, test := range []struct{ text, want string }{
		{`{"id": "x"}`, "after 0 results: want a result document of pScheduler, with a member result"},
		{`{"id": "x", "result": {}} {`, "after 1 results: unexpected EOF"},
		{`[]`, "after 0 results: want a result document of pScheduler: "},
	} {
		if err := os.WriteFile(file, []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := owl(t, "archive", "--archive", `{"archiver": "bitbucket", "data": {}}`, "--queue", queue, file)
		if code != 1 || !strings.HasPrefix(stderr, "owagent: "+file+": "+test.want) {
			t.Errorf("%s: code %d\n%s", test.text, code, stderr)
		}
	}
}

// TestCheckArchiving: one result goes to each archive, and says that it is a test.
func TestCheckArchiving(t *testing.T) {
	t.Parallel()
	to := archivingtest.New(t)
	args := []string{"check-archiving", "--host", "here", "--archive", to.Spec()}
	code, stdout, stderr := owl(t, args...)
	got := to.Await(t, 1, archivingtest.All)
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "http: delivered, result "+got[0].ID+" (") {
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
	if r := got[0]; r.Result.Sent != 10 || r.Result.Latency["1"] != 10 || r.Test.Spec.Dest != "here" {
		t.Errorf("%+v", r)
	}
	code, stdout, stderr = owl(t, append(args, "--archive", `{"archiver": "tcp", "data": {"host": "127.0.0.1", "port": 1}}`,
		"--archive", `{"archiver": "bitbucket", "data": {}, "transform": {"script": "null"}}`)...)
	if code != 1 || strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "connection refused") ||
		!strings.Contains(stdout, "bitbucket: the specification does not want the test result") || stderr != "owagent: 1 of 3 archives do not take results\n" {
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
}
