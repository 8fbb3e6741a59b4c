package api

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recordings are what pScheduler's own archiver has sent to an esmond that has
// answered everything with 201; see their README. They are those that Owl's
// archiver is held against.
const recordings = "../dest/esmond/testdata/requests"

// recordedSecret and recordedKey are in the recordings.
const (
	recordedSecret = "35dfc21ebf95a6deadbeef83f1e052fbadcafe57"
	recordedKey    = "f6b732e9f351487a96126f0c25e5e546"
)

// What pScheduler's archiver sends is taken as it is, and so is what it sends
// again because an answer was lost.
func TestRecorded(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob(filepath.Join(recordings, "[0-9]*"))
	if err != nil || len(names) < 10 {
		t.Fatalf("%d recordings, %v", len(names), err)
	}
	for _, dir := range names {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			a := newArchive(t, transcriptNow, func(o *Options) {
				o.AllowWrite = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} // one recording has no key
			})
			send := func(name, key string) *httptest.ResponseRecorder {
				t.Helper()
				raw, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Skip(err) // of a run that was not archived
				}
				r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
				if err != nil {
					t.Fatal(err)
				}
				r.RemoteAddr = "198.51.100.7:4711"
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), recordedSecret, a.secret, 1))
				r.URL.Path = strings.Replace(r.URL.Path, recordedKey, key, 1)
				w := httptest.NewRecorder()
				a.handler.ServeHTTP(w, r)
				return w
			}
			w := send("01.http", "")
			if strings.HasSuffix(dir, "unresolved") {
				// Without an address esmond fails; nobody can search what it would be.
				if w.Code != http.StatusBadRequest {
					t.Errorf("status %d: %s, want 400", w.Code, w.Body)
				}
				return
			}
			if w.Code != http.StatusCreated {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			body, _ := io.ReadAll(w.Result().Body)
			o := (&reply{Response: w.Result(), body: body}).object(t)
			key := o["metadata-key"].(string)
			if w := send("02.http", key); w.Code != http.StatusCreated || w.Body.String() != `""` {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			updated := 0
			for _, e := range a.get(t, o["uri"].(string)).object(t)["event-types"].([]any) {
				e := e.(map[string]any)
				if e["time-updated"] == nil {
					continue
				}
				updated++
				if points := a.get(t, e["base-uri"].(string)+"?time-start=0").list(t); len(points) == 0 {
					t.Errorf("%s: no point", e["base-uri"])
				}
			}
			if updated == 0 {
				t.Error("nothing was written")
			}
			if w := send("01.http", ""); w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), key) {
				t.Errorf("registered again: status %d: %s", w.Code, w.Body)
			}
			// 409, but of what esmond takes twice.
			if w := send("02.http", key); w.Code != http.StatusConflict && w.Code != http.StatusCreated {
				t.Errorf("written again: status %d: %s", w.Code, w.Body)
			}
		})
	}
}
