package api_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"owl/archive/api"
	"owl/archive/store"
)

// An archive in a file, to which the host itself writes without a key.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "archive")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(context.Background(), filepath.Join(dir, "archive.db"), store.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	server := httptest.NewServer(api.New(s, api.Options{AllowWrite: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}))
	defer server.Close()

	registered, err := http.Post(server.URL+"/esmond/perfsonar/archive/", "application/json", strings.NewReader(`{
		"subject-type": "point-to-point", "source": "192.0.2.1", "destination": "192.0.2.2", "measurement-agent": "192.0.2.1",
		"tool-name": "powstream", "input-source": "a.example.net", "input-destination": "b.example.net",
		"event-types": [{"event-type": "packet-count-sent", "summaries": [{"summary-type": "average", "summary-window": 300}]}]}`))
	if err != nil {
		log.Fatal(err)
	}
	registered.Body.Close()
	measurement := registered.Header.Get("Location")
	for at, count := range map[int]int{1777636800: 600, 1777636860: 590} {
		written, err := http.Post(measurement+"packet-count-sent/base", "application/json", strings.NewReader(fmt.Sprintf(`{"ts": %d, "val": %d}`, at, count)))
		if err != nil {
			log.Fatal(err)
		}
		written.Body.Close()
	}
	for _, path := range []string{"packet-count-sent/base", "packet-count-sent/averages/300", "packet-count-sent/base?format=csv"} {
		read, err := http.Get(measurement + path)
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(read.Body)
		read.Body.Close()
		fmt.Println(strings.ReplaceAll(string(body), "\r\n", "\n"))
	}
	// Output:
	// [{"ts":1777636800,"val":600.0},{"ts":1777636860,"val":590.0}]
	// [{"ts":1777636800,"val":595.0}]
	// ts,val
	// 1777636800,600.0
	// 1777636860,590.0
}
