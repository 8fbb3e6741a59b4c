package dest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"owl/archive"
	"owl/archive/dest"
	"owl/internal/testserver"
)

// blocks are the blocks of a page that are JSON.
var blocks = regexp.MustCompile("(?sm)^```json\n(.*?)^```$")

// TestDocs: each specification of docs/archiving.md is one, there is one of each
// archiver in its own section, and the page tells of each member that its data may
// have.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/archiving.md")
	if err != nil {
		t.Fatal(err)
	}
	page := hostFiles(t).Replace(string(text))
	all := blocks.FindAllStringSubmatch(page, -1)
	if len(all) <= len(dest.Names) {
		t.Errorf("%d specifications, want more than one of each archiver", len(all))
	}
	for _, b := range all {
		specs, err := archive.ParseSpecs([]byte(b[1]))
		if err != nil {
			t.Errorf("%s%v", b[1], err)
		}
		for _, s := range specs {
			opened, err := dest.Open(s)
			if err != nil {
				t.Errorf("%s%v", b[1], err)
				continue
			}
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	sections := archivers(page)
	for _, name := range dest.Names {
		section := sections[name]
		specs := blocks.FindAllStringSubmatch(section, -1)
		if len(specs) != 1 || !strings.Contains(specs[0][1], `"archiver": "`+name+`"`) {
			t.Errorf("the section %s has %d specifications, want one, of it", name, len(specs))
		}
		for _, m := range members(t, name) {
			if !strings.Contains(section, "`"+m+"`") {
				t.Errorf("the section %s does not tell of %s", name, m)
			}
		}
	}
	if len(sections) != len(dest.Names) {
		t.Errorf("%d sections of archives, want %d", len(sections), len(dest.Names))
	}
}

// hostFiles puts files that there are for those which the page has.
func hostFiles(t *testing.T) *strings.Replacer {
	t.Helper()
	plugin, err := filepath.Abs("testdata/plugin")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		"/etc/owl/ca.pem", testserver.NewAuthority(t).File,
		"/usr/libexec/pscheduler/classes/archiver/simple", plugin)
}

// archivers returns the sections of the chapter about archives, by their names.
func archivers(page string) map[string]string {
	_, chapter, _ := strings.Cut(page, "\n## Archives\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	sections := make(map[string]string)
	for _, s := range strings.Split(chapter, "\n### ")[1:] {
		name, text, _ := strings.Cut(s, "\n")
		sections[name] = text
	}
	return sections
}

// wanted is where a refusal says which members there may be.
var wanted = regexp.MustCompile(`(?m)^/data/no such member: is unknown: want one of (.*)$`)

// members returns the members that an archiver knows, as it says itself, save those
// that the page explains for all of them.
func members(t *testing.T, archiver string) []string {
	t.Helper()
	s, err := archive.ParseSpec([]byte(`{"archiver": "` + archiver + `", "data": {"no such member": 1, "plugin": "/nowhere", "data": {}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = dest.Open(s); err == nil {
		t.Fatalf("%s takes anything", archiver)
	}
	told := wanted.FindStringSubmatch(err.Error())
	if told == nil {
		t.Fatalf("%s does not say what it wants: %v", archiver, err)
	}
	return slices.DeleteFunc(strings.Split(told[1], ", "), func(m string) bool {
		return slices.Contains([]string{"schema", "bind", "ip-version", "retry-policy"}, m)
	})
}
