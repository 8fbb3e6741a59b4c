package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"owl/archive/series"
)

// never is the latest time of a series that has no value.
const never = math.MinInt64

// Register returns what is stored of a measurement, and stores it first if it is
// new: by its identity it is the same as one that is there, or not. What is stored
// first stays as it is spelled. A new one gets a random key; or that of m, with the
// times at which m says that its event types were written, which is for what comes
// from another archive.
func (s *Store) Register(ctx context.Context, m *series.Metadata) (*series.Metadata, error) {
	if stored, err := s.reader(ctx).identified(m.Identity); stored != nil || err != nil {
		return stored, err
	}
	k, err := newKey(m)
	if err != nil {
		return nil, err
	}
	var stored *series.Metadata
	// Those of one identity wait for each other here, and not in the database.
	err = s.change(ctx, key(m.Identity[:16]), func(t *tx) (err error) {
		stored, err = t.register(k, m)
		return err
	})
	return stored, err
}

// newKey returns the key that a measurement will have, and refuses text that not
// every database takes.
func newKey(m *series.Metadata) (k key, err error) {
	texts := slices.Concat([]string{m.SubjectType, m.ToolName, m.InputSource, m.InputDestination},
		slices.Collect(maps.Keys(m.Parameters)), slices.Collect(maps.Values(m.Parameters)))
	for _, text := range texts {
		if !storable(text) {
			return k, fmt.Errorf("%q: want UTF-8 without a NUL", text)
		}
	}
	if m.Key == "" {
		return key(uuid.New()), nil
	}
	k, ok := parseKey(m.Key)
	if !ok {
		return k, fmt.Errorf("metadata key %q: want 32 lower-case hexadecimal digits", m.Key)
	}
	return k, nil
}

// storable reports whether text is what every database takes.
func storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// identified returns the metadata of an identity; nil: there are none.
func (r reader) identified(identity [32]byte) (*series.Metadata, error) {
	k, found, err := keyOf(r, identity)
	if err != nil || !found {
		return nil, err
	}
	return load(r, k)
}

func keyOf(q querier, identity [32]byte) (k key, found bool, err error) {
	err = q.query(func(r row) error {
		var b []byte
		if err := r.Scan(&b); err != nil {
			return err
		}
		found = true
		k, err = scanKey(b)
		return err
	}, "SELECT key FROM identities WHERE identity = ?", identity[:])
	return k, found, err
}

// register stores metadata under a key unless they are there.
func (t *tx) register(k key, m *series.Metadata) (*series.Metadata, error) {
	if m.Key != "" {
		switch there, err := load(t, k); {
		case err == nil && there.Identity != m.Identity:
			return nil, fmt.Errorf("metadata key %s is that of another measurement", k)
		case err != nil && !errors.Is(err, ErrUnknownKey):
			return nil, err
		}
	}
	// Whoever comes second waits here for the first.
	n, err := t.exec("INSERT INTO identities (identity, key) VALUES (?, ?) ON CONFLICT (identity) DO NOTHING", m.Identity[:], k[:])
	if err != nil {
		return nil, err
	}
	if n == 0 {
		if k, _, err = keyOf(t, m.Identity); err != nil {
			return nil, err
		}
		return load(t, k)
	}
	parameters, err := json.Marshal(m.Parameters)
	if err != nil {
		return nil, err
	}
	if _, err := t.exec("INSERT INTO metadata (key, subject_type, source, destination, measurement_agent, tool_name, input_source, input_destination, parameters, identity) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		k[:], m.SubjectType, addressText(m.Source), addressText(m.Destination), addressText(m.MeasurementAgent),
		m.ToolName, m.InputSource, m.InputDestination, string(parameters), m.Identity[:]); err != nil {
		return nil, err
	}
	var rows []any
	for _, name := range slices.Sorted(maps.Keys(m.Parameters)) {
		rows = append(rows, k[:], name, searched(m.Parameters[name]))
	}
	statements := inserts("INSERT INTO parameters (key, name, value)", "", 3, rows)
	rows = nil
	for i, e := range m.Events {
		var updated int64
		if m.Key != "" {
			updated = e.Updated
		}
		rows = append(rows, k[:], string(e.Type), i+1, updated, int64(never), summariesText(e.Summaries))
	}
	if err := t.all(append(statements, inserts("INSERT INTO events (key, event, id, updated, latest, summaries)", "", 6, rows)...)); err != nil {
		return nil, err
	}
	return load(t, k)
}

// Metadata returns what is stored of a measurement. An error is [ErrUnknownKey] if
// there is none.
func (s *Store) Metadata(ctx context.Context, metadataKey string) (*series.Metadata, error) {
	k, ok := parseKey(metadataKey)
	if !ok {
		return nil, ErrUnknownKey
	}
	return load(s.reader(ctx), k)
}

func load(q querier, k key) (*series.Metadata, error) {
	page, err := loadPage(q, "SELECT "+metadataColumns+" FROM metadata m WHERE m.key = ?", k[:])
	if err != nil {
		return nil, err
	}
	if len(page) == 0 {
		return nil, ErrUnknownKey
	}
	return page[0], nil
}

// maxSearched is how many octets of a text every database has room for in an index.
const maxSearched = 1024

// searched is what a parameter is searched by: a longer text by its hash.
func searched(value string) string {
	if len(value) <= maxSearched {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

const metadataColumns = "m.key, m.subject_type, m.source, m.destination, m.measurement_agent, m.tool_name, m.input_source, m.input_destination, m.parameters, m.identity"

// keysAtOnce is of how many keys a query asks.
const keysAtOnce = 128

// loadPage returns the metadata that a query finds, with their event types.
func loadPage(q querier, query string, args ...any) ([]*series.Metadata, error) {
	var page []*series.Metadata
	var keys []any
	byKey := make(map[key]*series.Metadata)
	err := q.query(func(r row) error {
		m := new(series.Metadata)
		var k, identity, parameters []byte
		var addresses [3]string
		if err := r.Scan(&k, &m.SubjectType, &addresses[0], &addresses[1], &addresses[2], &m.ToolName, &m.InputSource, &m.InputDestination, &parameters, &identity); err != nil {
			return err
		}
		id, err := scanKey(k)
		if err != nil {
			return err
		}
		m.Key = id.String()
		for i, a := range []*netip.Addr{&m.Source, &m.Destination, &m.MeasurementAgent} {
			if addresses[i] == "" {
				continue
			}
			if *a, err = netip.ParseAddr(addresses[i]); err != nil {
				return fmt.Errorf("the archive is damaged: metadata %s: %w", m.Key, err)
			}
		}
		if err := json.Unmarshal(parameters, &m.Parameters); err != nil {
			return fmt.Errorf("the archive is damaged: the parameters of metadata %s: %w", m.Key, err)
		}
		if len(identity) != len(m.Identity) {
			return fmt.Errorf("the archive is damaged: the identity of metadata %s has %d octets, want %d", m.Key, len(identity), len(m.Identity))
		}
		m.Identity = [32]byte(identity)
		byKey[id] = m
		keys = append(keys, id[:])
		page = append(page, m)
		return nil
	}, query, args...)
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk(keys, keysAtOnce) {
		err := q.query(func(r row) error {
			var k []byte
			var e eventRow
			if err := r.Scan(&k, &e.event, &e.updated, &e.summaries); err != nil {
				return err
			}
			id, err := scanKey(k)
			if err != nil {
				return err
			}
			m := byKey[id]
			summaries, err := e.parseSummaries()
			m.Events = append(m.Events, series.Event{Type: series.EventType(e.event), Updated: e.updated, Summaries: summaries})
			return err
		}, "SELECT key, event, updated, summaries FROM events WHERE key IN (?"+strings.Repeat(", ?", len(part)-1)+") ORDER BY key, event", part...)
		if err != nil {
			return nil, err
		}
	}
	return page, nil
}

// An eventRow is an event type of a measurement.
type eventRow struct {
	event           string
	id              int64
	updated, latest int64
	summaries       string
}

// summariesText is how summaries are stored: each with a comma before and behind,
// so that LIKE finds one by its type, its window or both.
func summariesText(all []series.Summary) string {
	var b strings.Builder
	b.WriteByte(',')
	for _, s := range all {
		fmt.Fprintf(&b, "%s:%d,", s.Type, s.Window)
	}
	return b.String()
}

func (e *eventRow) parseSummaries() ([]series.Summary, error) {
	var all []series.Summary
	for text := range strings.SplitSeq(strings.Trim(e.summaries, ","), ",") {
		if text == "" {
			continue
		}
		name, window, _ := strings.Cut(text, ":")
		t, ok := series.ParseSummaryType(name)
		w, err := strconv.ParseInt(window, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("the archive is damaged: the summary %q of event type %s", text, e.event)
		}
		all = append(all, series.Summary{Type: t, Window: w})
	}
	return all, nil
}

// addressText is how an address is stored; empty: there is none.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
