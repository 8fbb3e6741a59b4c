package esmond

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
	"owl/archive/series"
	"owl/archive/store"
)

// openOwn returns a destination that is the store s of this test.
func openOwn(t *testing.T, find Lookup) (archive.Opened, *store.Store) {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	o := OpenStore(s, find)
	t.Cleanup(func() { o.Close() })
	return o, s
}

// read returns the values of an event type as their JSON, by their time.
func read(t *testing.T, s *store.Store, key string, event series.EventType) map[int64]string {
	t.Helper()
	got := make(map[int64]string)
	for r, err := range s.Read(t.Context(), store.Query{Key: key, Event: event, From: 0, To: 1 << 40, Limit: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		got[r.Time] = string(r.AppendJSON(nil))
	}
	return got
}

// A store of this process has what an archive far away would have: the same
// measurement, and each value once however often a result comes.
func TestOwn(t *testing.T) {
	d, s := openOwn(t, findHost)
	_, item := readInput(t, "01-success")
	for range 2 {
		if err := d.Deliver(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	all, total, err := s.Search(t.Context(), &store.Filter{Limit: 10})
	if err != nil || total != 1 {
		t.Fatalf("%d measurements, %v", total, err)
	}
	m := all[0]
	if m.Source != netip.MustParseAddr("192.0.2.10") || m.Destination != netip.MustParseAddr("198.51.100.20") || m.MeasurementAgent != m.Source ||
		m.ToolName != "pscheduler/powstream" || m.Parameters["mode-flip"] != "False" || m.Parameters["sample-size"] != "600" {
		t.Errorf("%v, %v", m, m.Parameters)
	}
	want := golden(t, "01-success")[1].Body.(map[string]any)["data"].([]any)[0].(map[string]any)
	at, err := want["ts"].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	for event, text := range map[series.EventType]string{
		"packet-count-sent": "600.0",
		"packet-count-lost": "0.0",
	} {
		if diff := cmp.Diff(map[int64]string{at: text}, read(t, s, m.Key, event)); diff != "" {
			t.Errorf("%s: %s", event, diff)
		}
	}
}

// What another result of the same measurement and second has said stays, and no
// further try is made; nothing of the second one is there.
func TestOwnConflict(t *testing.T) {
	d, s := openOwn(t, findHost)
	result := func(sent, failure string) *archive.Item {
		return &archive.Item{Payload: []byte(`{"schedule": {"start": "2026-05-01T12:00:00Z"}, "tool": {"name": "ping"}, "participants": ["192.0.2.1"], "run": {"href": "http://h/` + failure + `"},
			"test": {"type": "rtt", "spec": {"dest": "192.0.2.2"}}, "result": {"succeeded": true, "sent": ` + sent + `}}`)}
	}
	if err := d.Deliver(t.Context(), result("1", "a")); err != nil {
		t.Fatal(err)
	}
	err := d.Deliver(t.Context(), result("2", "b"))
	if !archive.IsFinal(err) || !strings.Contains(err.Error(), "packet-count-sent at time 1777636800") {
		t.Errorf("%v, want a final error", err)
	}
	all, _, err := s.Search(t.Context(), &store.Filter{Limit: 10})
	if err != nil || len(all) != 1 {
		t.Fatalf("%d measurements, %v", len(all), err)
	}
	if diff := cmp.Diff(map[int64]string{1777636800: `{"href":"http://h/a"}`}, read(t, s, all[0].Key, "pscheduler-run-href")); diff != "" {
		t.Error(diff)
	}
}

// A host without an address may have one later; what cannot be stored never can.
func TestOwnRefuses(t *testing.T) {
	known := false
	d, _ := openOwn(t, func(ctx context.Context, network, host string) ([]netip.Addr, error) {
		if !known {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return findHost(ctx, network, host)
	})
	item := func(test, result string) *archive.Item {
		return &archive.Item{Payload: []byte(`{"schedule": {"start": "2026-05-01T12:00:00Z"}, "tool": {"name": "ping"}, "participants": ["ps1.example.net"],
			"test": ` + test + `, "result": ` + result + `}`)}
	}
	const test = `{"type": "rtt", "spec": {"dest": "ps2.example.net"}}`
	err := d.Deliver(t.Context(), item(test, `{"succeeded": true, "sent": 1}`))
	if err == nil || archive.IsFinal(err) || err.Error() != `registering the measurement: the source "ps1.example.net" has no address of the other end's family` {
		t.Errorf("%v, want an error that is not final", err)
	}
	known = true
	if err := d.Deliver(t.Context(), item(test, `{"succeeded": true, "sent": 1}`)); err != nil {
		t.Error(err)
	}
	for _, test := range []string{
		`{"type": "rtt", "spec": {"dest": "ps2.example.net", "count": "` + strings.Repeat("x", 1<<17) + `"}}`,
		`{"type": "throughput", "spec": {"dest": "ps2.example.net"}}`,
	} {
		err := d.Deliver(t.Context(), item(test, `{"succeeded": true, "sent": 1, "summary": {"summary": {"throughput-bits": 1e300}}}`))
		if !archive.IsFinal(err) {
			t.Errorf("%v, want a final error", err)
		}
	}
}

// An agent that has no address is the end that has measured.
func TestOwnAgent(t *testing.T) {
	d, s := openOwn(t, findHost)
	for flip, want := range map[string]string{"true": "198.51.100.20", "false": "192.0.2.10"} {
		item := &archive.Item{Payload: []byte(`{"schedule": {"start": "2026-05-01T12:00:00Z"}, "tool": {"name": "powstream"}, "participants": ["gone.example.net"],
			"test": {"type": "latencybg", "spec": {"source": "ps1.example.net", "dest": "ps2.example.net", "flip": ` + flip + `}}, "result": {"succeeded": true, "packets-sent": 1}}`)}
		if err := d.Deliver(t.Context(), item); err != nil {
			t.Fatal(err)
		}
		all, total, err := s.Search(t.Context(), &store.Filter{MeasurementAgent: []netip.Addr{netip.MustParseAddr(want)}, Limit: 10})
		if err != nil || total != 1 || !strings.EqualFold(all[0].Parameters["mode-flip"], flip) {
			t.Errorf("flip %s: %d measurements by %s, %v", flip, total, want, err)
		}
	}
}

// A store that cannot be written fails, and a try later may do.
func TestOwnClosed(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, item := readInput(t, "01-success")
	if err := OpenStore(s, findHost).Deliver(t.Context(), item); err == nil || archive.IsFinal(err) {
		t.Errorf("%v, want an error that is not final", err)
	}
}
