package main

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"owl/archive/dest"
	"owl/archive/tstat"
	"owl/internal/testprog"
)

func TestPage(t *testing.T) {
	testprog.Documented(t, "../../packaging/man/man1/tstat_send.1", taken.Letters(), taken.Long())
}

// Each config that the documentation shows is one that can be used.
func TestDocumentedConfigs(t *testing.T) {
	t.Parallel()
	for file, example := range map[string]string{
		"../../docs/tstat.md":                     "(?s)```ini\n(.*?)```",
		"../../packaging/man/source/tstat_send.1": `(?s)\.Bd -literal -offset indent\n(\[.*?)\.Ed`,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		used := 0
		for _, found := range regexp.MustCompile(example).FindAllStringSubmatch(string(text), -1) {
			config, err := tstat.ParseConfig(found[1], func(string) (string, bool) { return "", false })
			if err != nil {
				t.Errorf("%s: %v:\n%s", file, err, found[1])
				continue
			}
			for _, name := range slices.Concat([]string{tstat.RabbitName}, dest.Names) {
				if !config.Has(name) {
					continue
				}
				used++
				if name == tstat.RabbitName {
					_, err = config.Rabbit()
				} else {
					err = opened(config, name)
				}
				if err != nil {
					t.Errorf("%s: %v:\n%s", file, err, found[1])
				}
			}
		}
		if used < 2 {
			t.Errorf("%s: %d configs", file, used)
		}
	}
}

// opened opens the archiver of a config, and closes it.
func opened(config *tstat.Config, name string) error {
	s, err := config.Spec(name)
	if err != nil {
		return err
	}
	to, err := tstat.Archiver(s, dest.Open)
	if err != nil {
		return err
	}
	return to.Close()
}
