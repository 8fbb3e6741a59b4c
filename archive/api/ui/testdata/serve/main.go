// Serve serves the page with measurements that are made up, to look at it:
//
//	go run ./archive/api/ui/testdata/serve [-hosts N] [-long 336h] [-short 26h] [ADDRESS]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"owl/archive/api/ui"
	"owl/archive/api/ui/internal/demo"
	"owl/archive/store"
)

func main() {
	hosts := flag.Int("hosts", len(demo.Hosts), "how many")
	long := flag.Duration("long", 14*24*time.Hour, "how far back there are data of one pair")
	short := flag.Duration("short", 3*time.Hour, "and of the others")
	flag.Parse()
	listen := "127.0.0.1:8861"
	if flag.NArg() > 0 {
		listen = flag.Arg(0)
	}
	if err := serve(listen, *hosts, *long, *short); err != nil {
		log.Fatal(err)
	}
}

func serve(listen string, hosts int, long, short time.Duration) error {
	dir, err := os.MkdirTemp("", "owl-page")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	s, err := store.Open(ctx, filepath.Join(dir, "archive.db"), store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	all := demo.Hosts[:min(hosts, len(demo.Hosts))]
	for i := len(all); i < hosts; i++ {
		h := demo.Hosts[i%len(demo.Hosts)]
		h.Name = fmt.Sprintf("h%03d.%s", i, h.Name)
		h.Address = netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		all = append(all[:i:i], h)
	}
	begun := time.Now()
	if err := (&demo.Mesh{Hosts: all, End: begun, Long: long, Short: short}).Fill(ctx, s); err != nil {
		return err
	}
	fmt.Printf("filled in %.1f s; http://%s/\n", time.Since(begun).Seconds(), listen)
	return http.ListenAndServe(listen, ui.New(s, ui.Options{}))
}
