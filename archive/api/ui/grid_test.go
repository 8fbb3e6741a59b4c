package ui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"owl/archive/api/ui"
	"owl/archive/series"
	"owl/archive/store"
)

// A grid has each measurement once, however many pages of them there are, and
// whichever of its event types they are found by.
func TestLargeGrid(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 1000 // two whole pages
	types := []string{`{"event-type":"histogram-owdelay"},{"event-type":"packet-loss-rate"}`, `{"event-type":"packet-loss-rate"}`}
	var done sync.WaitGroup
	for i := range n {
		m, err := series.ParseMetadata(fmt.Appendf(nil, `{"subject-type":"point-to-point","source":"10.0.%d.%d","destination":"192.0.2.1","measurement-agent":"192.0.2.1",
			"input-source":"s%[1]d-%[2]d","input-destination":"d","tool-name":"t","event-types":[%[3]s]}`, i/256, i%256, types[i%2]))
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() { // beside each other, for they wait for the disk together
			if _, err := s.Register(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	r := httptest.NewRecorder()
	ui.New(s, ui.Options{}).ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/api/grid", nil))
	var grid struct {
		Cells []struct {
			Key   string
			Tests int
		}
		Tests  int
		Beyond int `json:"tests_omitted"`
	}
	if err := json.Unmarshal(r.Body.Bytes(), &grid); err != nil {
		t.Fatalf("%d %s: %v", r.Code, r.Body, err)
	}
	keys := make(map[string]bool)
	for _, c := range grid.Cells {
		keys[c.Key] = true
		if c.Tests != 1 {
			t.Errorf("%s: %d measurements, want 1", c.Key, c.Tests)
		}
	}
	if len(keys) != n || len(grid.Cells) != n || grid.Tests != n || grid.Beyond != 0 {
		t.Errorf("%d keys in %d cells of %d measurements, %d beyond; want %d", len(keys), len(grid.Cells), grid.Tests, grid.Beyond, n)
	}
}
