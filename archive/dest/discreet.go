package dest

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"owl/archive"
)

// A discreet destination keeps secrets out of its errors, whatever the other side
// or a library has put there.
type discreet struct {
	archive.Destination
	hide mask
}

func (d *discreet) Deliver(ctx context.Context, item *archive.Item) error {
	return d.hide.error(d.Destination.Deliver(ctx, item))
}

// A mask hides secrets.
type mask struct{ *strings.Replacer }

// leastSecret is how long a secret is at least, in octets: to look for a shorter
// one would tear words.
const leastSecret = 4

// maskOf returns what hides the secrets in an archiver's data.
func maskOf(data map[string]any) mask {
	all := secrets(data, false)
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, s := range all {
		pairs = append(pairs, s, "***")
	}
	return mask{strings.NewReplacer(pairs...)}
}

// error returns err, or if it has secrets in it one that says the same without
// them.
func (m mask) error(err error) error {
	if err == nil {
		return nil
	}
	text := m.Replace(err.Error())
	if text == err.Error() {
		return err
	}
	masked := errors.New(text)
	if again, ok := errors.AsType[*archive.AgainError](err); ok {
		return &archive.AgainError{Err: masked, After: again.After}
	}
	if archive.IsFinal(err) {
		return archive.Final(masked)
	}
	return masked
}

// secrets returns the texts below members whose names begin with _, and of those
// that are URLs the passwords.
func secrets(v any, secret bool) []string {
	var all []string
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			all = append(all, secrets(value, secret || strings.HasPrefix(name, "_"))...)
		}
	case []any:
		for _, value := range v {
			all = append(all, secrets(value, secret)...)
		}
	case string:
		if !secret {
			break
		}
		each := []string{v}
		if u, err := url.Parse(v); err == nil && u.User != nil {
			password, _ := u.User.Password()
			each = append(each, password, u.User.String())
		}
		for _, s := range each {
			if len(s) >= leastSecret {
				all = append(all, s)
			}
		}
	}
	return all
}
