package mapping

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An object is one of JSON. What is read of it and is of another type than it
// should be counts as missing.
type object map[string]any

func objectOf(v any) object {
	m, _ := v.(map[string]any)
	return m
}

func listOf(v any) []any {
	l, _ := v.([]any)
	return l
}

func textOf(v any) string {
	s, _ := v.(string)
	return s
}

// numberOf returns a number and its value; false: it is none, or too great for
// 64 bits.
func numberOf(v any) (json.Number, float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return "", 0, false
	}
	f, err := n.Float64()
	return n, f, err == nil
}

// isEmpty reports whether v says nothing: null, false, 0 or empty.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		_, f, ok := numberOf(v)
		return ok && f == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// values are those of a record, in the order in which they are sent.
type values []Value

func (v *values) add(eventType string, val any) { *v = append(*v, Value{eventType, val}) }

// number adds a number, if it is one.
func (v *values) number(eventType string, val any) {
	if n, _, ok := numberOf(val); ok {
		v.add(eventType, n)
	}
}

// histogram adds an object of counts, if there are any.
func (v *values) histogram(eventType string, val any) {
	if o := objectOf(val); len(o) > 0 {
		v.add(eventType, o)
	}
}

// A ratio is a percentage, as esmond calls it.
type ratio struct {
	Numerator   json.Number `json:"numerator"`
	Denominator json.Number `json:"denominator"`
}

// rate adds lost of sent, if anything was sent.
func (v *values) rate(eventType string, lost, sent any) {
	n, _, isNumber := numberOf(lost)
	d, value, ok := numberOf(sent)
	if isNumber && ok && value != 0 {
		v.add(eventType, ratio{n, d})
	}
}

// flatten notes the scalars in v, at any depth, under names that say the way to
// them: the names of members, but for those of secrets, and the indices of
// elements.
func flatten(metadata map[string]any, name string, v any) {
	switch v := v.(type) {
	case nil:
	case object:
		flatten(metadata, name, map[string]any(v))
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if !strings.HasPrefix(key, "_") {
				flatten(metadata, name+"-"+key, v[key])
			}
		}
	case []any:
		for i := range v {
			flatten(metadata, fmt.Sprintf("%s-%d", name, i), v[i])
		}
	default:
		metadata[name] = v
	}
}

// decimal returns f as Python writes it, the shortest text that is f again, with a
// fraction or an exponent: esmond compares metadata as text, for which 30.0 is not
// 30. f is finite.
func decimal(f float64) json.Number {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return json.Number(strconv.FormatFloat(f, 'e', -1, 64))
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return json.Number(s)
}

// difference returns b - a: an integer if both are; false: it cannot be told.
func difference(a, b json.Number) (json.Number, bool) {
	i, err := a.Int64()
	j, err2 := b.Int64()
	const whole = 1 << 53 // differences of less do not overflow
	if err == nil && err2 == nil && max(i, -i, j, -j) < whole {
		return json.Number(strconv.FormatInt(j-i, 10)), true
	}
	x, err := a.Float64()
	y, err2 := b.Float64()
	if err != nil || err2 != nil || math.IsInf(y-x, 0) {
		return "", false
	}
	return decimal(y - x), true
}

// seconds returns d as seconds, to the microsecond, half to even, beyond which
// pScheduler's archiver knows no time.
func seconds(d time.Duration) float64 {
	us, rest := d/time.Microsecond, d%time.Microsecond
	if half := time.Microsecond / 2; rest > half || rest == half && us%2 != 0 {
		us++
	}
	return float64(us) / 1e6
}
