// Grafana makes the dashboards beside it, from the tables in this package:
//
//	go run ./packaging/grafana
//
// Of each panel they say what it asks for and how that is to be read; what Grafana
// wants beside that is put in here, in one place.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// dir is where the dashboards are, from the root of the repository.
const dir = "packaging/grafana"

func main() {
	for name, text := range files() {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			fmt.Fprintf(os.Stderr, "grafana: %v\n", err)
			os.Exit(1) //nolint:forbidigo // this is a program
		}
	}
}

// files returns the dashboards by the names of their files.
func files() map[string][]byte {
	all := make(map[string][]byte)
	for _, d := range []dashboard{streams, host, archive, pairs} {
		text, err := json.MarshalIndent(d.model(), "", "  ")
		if err != nil {
			panic(err) // of maps of texts and numbers
		}
		all[d.file] = append(text, '\n')
	}
	return all
}
