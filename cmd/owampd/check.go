package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// check prints what would be in force, as files that say the same, and returns
// the exit code: 1 if owampd would not start with it.
func check(o *options, stdout, stderr io.Writer) int {
	var errs []error
	if _, err := o.identify(os.Geteuid()); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, o.engine.Check(), o.unreadable)
	if o.unreadable == nil {
		errs = append(errs, o.checkUsers())
	}
	errs = append(errs, checkDir("vardir", o.varDir, true), checkDir("datadir", o.dataDir, false))
	if err := errors.Join(errs...); err != nil {
		return refuse(stderr, err)
	}
	o.describe(stdout)
	return 0
}

// checkDir returns an error unless name is a directory, or could be one if it
// must not be there already.
func checkDir(key, name string, must bool) error {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, os.ErrNotExist) && !must:
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", key, err)
	case !info.IsDir():
		return fmt.Errorf("%s: %s: want a directory", key, name)
	}
	return nil
}

// describe prints what is in force and where each value comes from.
func (o *options) describe(w io.Writer) {
	for _, remark := range o.remarks {
		fmt.Fprintf(w, "# %s\n", remark)
	}
	o.describePassphrases(w)
	if o.metrics != "" {
		fmt.Fprintf(w, "# metrics are at %s (--metrics)\n", o.metrics)
	}
	for _, line := range append(o.engine.Describe(), o.clock.Describe()...) {
		fmt.Fprintf(w, "# %s\n", line)
	}
	fmt.Fprintf(w, "# %s\n", confName)
	for _, k := range keys {
		from := o.origin(k.name)
		name, value := k.name, k.text(o)
		switch {
		case value == "":
			name = "#" + name
		case k.flag:
			value = ""
		}
		fmt.Fprintf(w, "%-19s %-23s # %s\n", name, value, from)
	}
	from := o.limitsFile
	if from == "" {
		from = "default"
	}
	fmt.Fprintf(w, "\n# %s: %s\n%v", limitsName, from, o.limits)
}

// origin says where the value of a key comes from.
func (o *options) origin(key string) string {
	if from, given := o.from[key]; given {
		return from
	}
	if key == "loglevel" && o.verbose > 0 {
		return o.from["verbose"]
	}
	if key == "loglocation" && o.verbose > 1 {
		return o.from["verbose"]
	}
	return "default"
}
