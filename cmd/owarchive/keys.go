package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"owl/internal/table"
)

// keys is the command key.
func (o *options) keys(ctx context.Context, log *slog.Logger, stdout, stderr io.Writer) error {
	action, names := o.operands[0], o.operands[1:]
	switch {
	case action != "add" && action != "list" && action != "revoke":
		return fmt.Errorf("key %s: want add NAME, list or revoke NAME", action)
	case action == "list" && len(names) > 0:
		return fmt.Errorf("key list: %q: want no name", names[0])
	case action != "list" && len(names) == 0:
		return fmt.Errorf("key %s: want a name", action)
	case action != "list" && o.json:
		return fmt.Errorf("key %s: option --json: want it with list", action)
	}
	st, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer st.Close()
	switch action {
	case "list":
		keys, err := st.Keys(ctx)
		if err != nil {
			return err
		}
		all := make([]keyStatus, 0, len(keys))
		for _, k := range keys {
			s := keyStatus{Name: k.Name, Created: k.Created.UTC()}
			if !k.Used.IsZero() {
				s.Used = k.Used.Format(time.DateOnly)
			}
			all = append(all, s)
		}
		if o.json {
			return printJSON(stdout, all)
		}
		return printKeys(stdout, all)
	case "revoke":
		if err := st.RevokeKey(ctx, names[0]); err != nil {
			return err
		}
		_, err := fmt.Fprintf(stdout, "%s may no longer write\n", names[0])
		return err
	}
	secret, err := st.AddKey(ctx, names[0])
	if err != nil {
		return err
	}
	// Alone on the standard output, for scripts.
	if _, err := fmt.Fprintln(stdout, secret); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "This is the key of %s, which is not shown again. Clients send it as \"Authorization: Token KEY\".\n", names[0])
	return nil
}

// A keyStatus is a key without its secret.
type keyStatus struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Used    string    `json:"used,omitempty"` // the day of the last use, in UTC
}

func printKeys(w io.Writer, all []keyStatus) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "name\tcreated\tlast used")
	for _, k := range all {
		used := k.Used
		if used == "" {
			used = "never"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", table.Plain(k.Name), k.Created.Format(time.DateOnly), used)
	}
	return tw.Flush()
}

// printJSON prints a document.
func printJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
