package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed page.html static
var files embed.FS

// An asset is a file of the page.
type asset struct {
	name string
	body []byte
	tag  string // changes when the file does
}

// assets returns the files of the page, by their paths.
func assets() map[string]asset {
	all := make(map[string]asset)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := files.ReadFile(name)
		sum := sha256.Sum256(body)
		all["/"+name] = asset{name: path.Base(name), body: body, tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	if err != nil {
		panic(err) // of files that are part of the program
	}
	all["/"] = all["/page.html"]
	delete(all, "/page.html")
	return all
}

// policy lets the page load what is its own, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// servePage answers with a file of the page.
func (h *handler) servePage(w http.ResponseWriter, r *http.Request) {
	a, ok := h.assets[r.URL.Path]
	if !ok {
		fail(w, http.StatusNotFound, "there is no such page: want /")
		return
	}
	w.Header().Set("ETag", a.tag)
	http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.body))
}
