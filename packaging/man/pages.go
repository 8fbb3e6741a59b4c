package main

import (
	"embed"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"owl/internal/manual"
)

// date is that of all pages. A release changes it.
const date = "November 21, 2026"

// commonName is the source of the definitions that pages share. All others are
// named as their pages.
const commonName = "common"

//go:embed source
var embedded embed.FS

// sources returns the sources by their names.
func sources() map[string]string {
	all := make(map[string]string)
	entries, _ := embedded.ReadDir("source") // an embedded directory is always there
	for _, e := range entries {
		text, _ := embedded.ReadFile("source/" + e.Name())
		all[e.Name()] = string(text)
	}
	return all
}

// programs returns the programs, which are those that have a page in section 1
// or 8.
func programs() []string {
	var names []string
	paths, _ := fs.Glob(embedded, "source/*.[18]")
	for _, p := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(p), filepath.Ext(p)))
	}
	slices.Sort(names)
	return names
}

// makePages returns the pages by their paths below the directory of pages.
func makePages(facts *manual.Facts) (map[string][]byte, error) {
	all := sources()
	common := all[commonName]
	delete(all, commonName)
	pages := make(map[string][]byte)
	for name, source := range all {
		text, err := facts.Page(name, source, common)
		if err != nil {
			return nil, err
		}
		pages["man"+filepath.Ext(name)[1:]+"/"+name] = text
	}
	return pages, nil
}
