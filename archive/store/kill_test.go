package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"owl/archive/series"
)

// TestMain lets the test program be the archive that is killed.
func TestMain(m *testing.M) {
	if address := os.Getenv("OWL_TEST_ARCHIVE"); address != "" {
		if err := writeUntilKilled(address, os.Getenv("OWL_TEST_ACKNOWLEDGED")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const (
	killWriters = 8
	killTimes   = 500 // of values that are replaced again and again, by each writer
)

// writeUntilKilled writes to a measurement, late values and those that replace
// others among them. What is written it writes down, and prints an octet.
func writeUntilKilled(address, acknowledged string) error {
	out, err := os.OpenFile(acknowledged, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s, err := Open(context.Background(), address, Options{})
	if err != nil {
		return err
	}
	m, err := series.ParseMetadata([]byte(disorder))
	if err != nil {
		return err
	}
	if m, err = s.Register(context.Background(), m); err != nil {
		return err
	}
	begun := time.Now().UnixMicro()
	failed := make(chan error)
	for w := range int64(killWriters) {
		go func() {
			for i := int64(0); ; i++ {
				// Numbers grow, so that it is seen which of two is later.
				n, again := begun+i, rand.Int64N(killTimes)*killWriters+w
				var body []series.Sample
				for _, v := range []struct {
					at    int64
					event series.EventType
					json  string
				}{
					{again, "histogram-rtt", fmt.Sprintf(`{"1":%d,"%d":1}`, n, again%7)},
					{again, "failures", fmt.Sprint(n)},
					{n*killWriters + w, "packet-count-sent", fmt.Sprint(n)},
					{n*killWriters + w, "packet-loss-rate", fmt.Sprintf(`{"numerator":%d,"denominator":600}`, n%600)},
				} {
					k, _ := v.event.Kind()
					value, err := series.Parse(k, []byte(v.json))
					if err != nil {
						failed <- err
						return
					}
					body = append(body, series.Sample{Time: v.at % series.MaxTime, Event: v.event, Value: value})
				}
				if _, err := s.Write(context.Background(), m.Key, body); err != nil {
					failed <- err
					return
				}
				if _, err := fmt.Fprintf(out, "%d %d %d\n", again, n, body[2].Time); err != nil {
					failed <- err
					return
				}
				fmt.Print(".")
			}
		}()
	}
	return <-failed
}

// Killed at any moment, the archive has all that it has acknowledged, and its
// summaries are those of what it has.
func testKill(t *testing.T, address string) {
	kills := 10
	if !testing.Short() {
		kills = 100
	} else if IsURL(address) {
		kills = 3 // what is on the disk is the server's matter
	}
	acknowledged := filepath.Join(t.TempDir(), "acknowledged")
	for range kills {
		kill(t, address, acknowledged, rand.N(100))
		s, err := Open(t.Context(), address, Options{})
		if err != nil {
			t.Fatal(err)
		}
		checkKilled(t, s, acknowledged)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// kill runs the archive, and kills it when it has acknowledged so many writes.
func kill(t *testing.T, address, acknowledged string, writes int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "OWL_TEST_ARCHIVE="+address, "OWL_TEST_ACKNOWLEDGED="+acknowledged, "GORACE=atexit_sleep_ms=0")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	patience := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer patience.Stop()
	n, err := io.CopyN(io.Discard, out, int64(writes))
	cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil || log.Len() > 0 {
		t.Fatalf("the archive has acknowledged %d writes, want %d, and said: %s", n, writes, &log)
	}
}

func checkKilled(t *testing.T, s *Store, acknowledged string) {
	t.Helper()
	found, _, err := s.Search(t.Context(), &Filter{Limit: -1})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(acknowledged)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if len(found) != 1 {
		if len(text) > 0 || len(found) > 1 {
			t.Fatalf("%d measurements, want 1", len(found))
		}
		return // it was killed before
	}
	m := found[0]
	consistent(t, s, m)
	there := make(map[series.EventType]map[int64]string)
	for _, e := range m.Events {
		there[e.Type] = make(map[int64]string)
		for r, err := range s.Read(t.Context(), all(m, e.Type, series.Base, 0)) {
			if err != nil {
				t.Fatal(err)
			}
			there[e.Type][r.Time] = string(r.AppendJSON(nil))
		}
	}
	for line := range strings.Lines(string(text)) {
		var again, n, once int64
		if _, err := fmt.Sscan(line, &again, &n, &once); err != nil {
			t.Fatal(err)
		}
		if got := there["packet-count-sent"][once]; got == "" {
			t.Errorf("count %d at %d is lost", n, once)
		}
		if got := there["packet-loss-rate"][once]; got == "" {
			t.Errorf("the loss of %d at %d is lost", n, once)
		}
		var later, count int64
		if _, err := fmt.Sscan(there["failures"][again], &later); err != nil || later < n {
			t.Errorf("failure %d at %d is lost: %q", n, again, there["failures"][again])
		}
		if _, err := fmt.Sscanf(there["histogram-rtt"][again], `{"1": %d`, &count); err != nil || count != later && again%7 != 1 {
			t.Errorf("histogram %d at %d is lost: %q", n, again, there["histogram-rtt"][again])
		}
	}
}
