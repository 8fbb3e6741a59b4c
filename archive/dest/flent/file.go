package flent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"owl/archive/dest/flent/datafile"
	"owl/internal/aside"
)

// resultsName is the member of the metadata that has the IDs of results, by which
// a repeat is told.
const resultsName = "OWAMP_RESULTS"

// maxSame is how many files there may be of the same time and title.
const maxSame = 10000

// settings say what is in a data file. They stand in its spool, too.
type settings struct {
	Title    string        `json:"title"`
	Note     string        `json:"note"`
	Test     string        `json:"test-name"`
	Step     time.Duration `json:"step"` // ns
	Suffix   string        `json:"suffix"`
	Extended bool          `json:"extended-metadata"`
	Remotes  []string      `json:"remote-metadata"`
	Period   time.Duration `json:"period"` // ns; 0: a file for each result
}

func (s *settings) equal(o *settings) bool {
	return s.Title == o.Title && s.Note == o.Note && s.Test == o.Test && s.Step == o.Step && s.Suffix == o.Suffix &&
		s.Extended == o.Extended && s.Period == o.Period && slices.Equal(s.Remotes, o.Remotes)
}

// testOf returns the test that parts are, and what was found out of hosts.
func (s *settings) testOf(program string, parts []*part, facts map[string]any) *datafile.Test {
	var order []string // of tasks, by their first parts
	byTask := make(map[string][]*part)
	ids := make([]string, len(parts))
	t := &datafile.Test{
		Name:      s.Test,
		Title:     s.Title,
		Note:      s.Note,
		Step:      s.Step,
		LocalHost: parts[0].Here,
		Program:   program,
		Metadata:  maps.Clone(facts),
	}
	for i, p := range parts {
		ids[i] = p.ID
		key := p.Task + " " + p.Source + " " + p.Dest
		if byTask[key] == nil {
			order = append(order, key)
		}
		byTask[key] = append(byTask[key], p)
		if !slices.Contains(t.Hosts, p.There) {
			t.Hosts = append(t.Hosts, p.There)
		}
	}
	if t.Metadata == nil {
		t.Metadata = make(map[string]any)
	}
	t.Metadata[resultsName] = ids
	switch target := parts[0].Target; {
	case target.Is4():
		t.IPVersion = 4
	case target.Is6():
		t.IPVersion = 6
	}
	names := make([]string, len(order))
	for i, key := range order {
		name, path := pathOf(byTask[key])
		names[i] = name
		t.Paths = append(t.Paths, path)
	}
	for i, label := range datafile.Labels(names) {
		t.Paths[i].Label = label
	}
	if t.Title == "" && (s.Period == 0 || s.Test == datafile.VoIP) {
		t.Title = names[0] // others have their own file of the same time
	}
	return t
}

// write writes a data file of a test into dir, and gives it a name that no other
// has, also if another process does the same. Nothing is written if there is a file
// of the same name with the same results.
func write(ctx context.Context, dir, suffix string, t *datafile.Test) error {
	for i := range t.Paths {
		samples := t.Paths[i].Samples
		t.Paths[i].Samples = func(yield func(datafile.Sample, error) bool) {
			n := 0
			for s, err := range samples {
				if n++; n%4096 == 0 && ctx.Err() != nil {
					s, err = datafile.Sample{}, ctx.Err()
				}
				if !yield(s, err) || err != nil {
					return
				}
			}
		}
	}
	w, err := datafile.NewWriter(t)
	if err != nil {
		return err
	}
	directory, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer directory.Close()
	for {
		if err := unix.Flock(int(directory.Fd()), unix.LOCK_EX); err == nil {
			break
		} else if err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
	name, there, err := freeName(dir, suffix, w)
	if err != nil || there {
		return err
	}
	f, err := aside.Create(dir, "owl-flent")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.Write(f, name); err != nil {
		return err
	}
	if _, err := f.CommitAs(name); err != nil {
		return err
	}
	return directory.Sync()
}

// freeName returns a name that no file in dir has, or reports that there is a file
// with the results already.
func freeName(dir, suffix string, w *datafile.Writer) (name string, there bool, err error) {
	end := suffix // of the name, however long the title is
	for n := 2; n < maxSame; n++ {
		name := datafile.FileName(w.Name, w.Start, w.Title, end)
		ids, err := resultsIn(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return name, false, nil
		case err != nil:
			return "", false, err
		case slices.Equal(ids, w.Metadata[resultsName].([]string)):
			return name, true, nil
		}
		end = fmt.Sprintf("-%d%s", n, suffix)
	}
	return "", false, fmt.Errorf("%s: %d data files of the same time and title: want fewer", dir, maxSame)
}

// resultsIn returns the IDs of the results in the data file at path; none if it is
// another program's, or no data file.
func resultsIn(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := datafile.ReadMetadata(f)
	if err != nil {
		return nil, nil // whatever it is, it has none of our results
	}
	list, _ := m[resultsName].([]any)
	ids := make([]string, 0, len(list))
	for _, v := range list {
		id, _ := v.(string)
		ids = append(ids, id)
	}
	return ids, nil
}
