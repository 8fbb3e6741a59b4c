package ui_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"owl/archive/api/ui"
	"owl/archive/api/ui/internal/demo"
	"owl/archive/store"
)

// BenchmarkGrid reads the last hour of 30 hosts that all measure each other.
func BenchmarkGrid(b *testing.B) {
	page := filled(b, 30, time.Hour, time.Hour)
	for i := 0; b.Loop(); i++ { // each time another span: a grid is remembered
		to := time.Now().Unix() + int64(i)*10
		ask(b, page, fmt.Sprintf("/api/grid?from=%d&to=%d", to-3600, to))
	}
}

// BenchmarkPair reads both directions between two hosts.
func BenchmarkPair(b *testing.B) {
	page := filled(b, 4, 7*24*time.Hour, time.Hour)
	for _, span := range []time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		b.Run(span.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				to := time.Now().Unix()
				ask(b, page, fmt.Sprintf("/api/pair?source=192.0.2.10&destination=198.51.100.40&from=%d&to=%d", to-int64(span.Seconds()), to))
			}
		})
	}
}

func filled(b *testing.B, hosts int, long, short time.Duration) http.Handler {
	s, err := store.Open(b.Context(), filepath.Join(b.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	all := demo.Hosts[:min(hosts, len(demo.Hosts))]
	for i := len(all); i < hosts; i++ {
		h := demo.Hosts[i%len(demo.Hosts)]
		h.Name, h.Address = fmt.Sprintf("h%d.%s", i, h.Name), netip.AddrFrom4([4]byte{198, 18, 0, byte(i)})
		all = append(all[:i:i], h)
	}
	if err := (&demo.Mesh{Hosts: all, End: time.Now(), Long: long, Short: short}).Fill(b.Context(), s); err != nil {
		b.Fatal(err)
	}
	return ui.New(s, ui.Options{})
}

func ask(b *testing.B, page http.Handler, address string) {
	r := httptest.NewRecorder()
	page.ServeHTTP(r, httptest.NewRequest(http.MethodGet, address, nil))
	if r.Code != http.StatusOK {
		b.Fatalf("%s: %d %s", address, r.Code, r.Body)
	}
}
