package store

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"owl/archive/series"
	"owl/internal/testserver"
)

// everywhere are the tests that hold for every database; each gets the address of
// an archive of its own, which is not there yet.
var everywhere = map[string]func(t *testing.T, address string){
	"Write":           testWrite,
	"StatisticsAlone": testStatisticsAlone,
	"Together":        testTogether,
	"Register":        testRegister,
	"Disorder":        testDisorder,
	"Pruned":          testPruned,
	"Search":          testSearch,
	"Read":            testRead,
	"Kill":            testKill,
	"Open":            testOpen,
	"Batch":           testBatch,
	"Closed":          testClosed,
	"Shared":          testShared,
	"Keys":            testKeys,
	"LongParameters":  testLongParameters,
	"Prune":           testPrune,
	"PruneSummaries":  testPruneSummaries,
	"Transfer":        testTransfer,
	"BackupOfServer":  testBackupOfServer,
	"Copy":            testCopy,
	"Forecast":        testForecast,
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	for name, test := range everywhere {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, filepath.Join(t.TempDir(), "archive.db"))
		})
	}
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	server := &database{PostgreSQL: testserver.StartPostgreSQL(t, nil)}
	for name, test := range everywhere {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server.create(t))
		})
	}
	t.Run("Again", func(t *testing.T) {
		t.Parallel()
		testAgain(t, server.create(t))
	})
}

// A database is a server that has many.
type database struct {
	*testserver.PostgreSQL
	made atomic.Int64
}

// create makes an empty database and returns its URL.
func (d *database) create(t testing.TB) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	name := fmt.Sprintf("archive%d", d.made.Add(1))
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return d.url(name)
}

func (d *database) url(name string) string {
	return fmt.Sprintf("postgres://owl:%s@%s/%s?sslmode=disable", testserver.Password, d.Address(), name)
}

// A clock is one that stands still, at a Unix second.
type clock struct{ atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(c.Load(), 0) }

// openAt opens an archive whose clock stands at 1700000000.
func openAt(t testing.TB, address string) (*Store, *clock) {
	t.Helper()
	c := new(clock)
	c.Store(1_700_000_000)
	s, err := Open(t.Context(), address, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

// powstream is what powstream registers for a stream between two hosts, with
// perfSONAR's default summaries.
func powstream(t testing.TB, source, destination string) *series.Metadata {
	t.Helper()
	const summaries = `[{"summary-type":"aggregation","summary-window":300},{"summary-type":"aggregation","summary-window":3600},{"summary-type":"aggregation","summary-window":86400}]`
	m, err := series.ParseMetadata(fmt.Appendf(nil, `{"subject-type":"point-to-point","source":%q,"destination":%q,"measurement-agent":%[1]q,
		"input-source":"a.example.net","input-destination":"b.example.net","tool-name":"pscheduler/powstream","time-duration":86402.0,"sample-size":600,"mode-flip":false,
		"event-types":[{"event-type":"failures"},{"event-type":"packet-count-sent","summaries":%[3]s},{"event-type":"packet-count-lost","summaries":%[3]s},
		{"event-type":"packet-loss-rate","summaries":%[3]s},{"event-type":"histogram-ttl"},{"event-type":"packet-duplicates"},{"event-type":"packet-reorders"},
		{"event-type":"time-error-estimates"},{"event-type":"pscheduler-run-href"},
		{"event-type":"histogram-owdelay","summaries":[{"summary-type":"aggregation","summary-window":300},{"summary-type":"statistics","summary-window":300},
		{"summary-type":"aggregation","summary-window":3600},{"summary-type":"statistics","summary-window":3600},{"summary-type":"statistics","summary-window":0},
		{"summary-type":"aggregation","summary-window":86400},{"summary-type":"statistics","summary-window":86400}]}]}`, source, destination, summaries))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// register registers metadata.
func register(t testing.TB, s *Store, m *series.Metadata) *series.Metadata {
	t.Helper()
	stored, err := s.Register(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// sample returns a sample whose value is JSON.
func sample(t testing.TB, at int64, event series.EventType, value string) series.Sample {
	t.Helper()
	k, ok := event.Kind()
	if !ok {
		t.Fatalf("no event type %s", event)
	}
	v, err := series.Parse(k, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return series.Sample{Time: at, Event: event, Value: v}
}

// readings returns a series as the JSON that clients get.
func readings(t testing.TB, s *Store, q Query) string {
	t.Helper()
	text := ""
	for r, err := range s.Read(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("%d %s\n", r.Time, r.AppendJSON(nil))
	}
	return text
}
