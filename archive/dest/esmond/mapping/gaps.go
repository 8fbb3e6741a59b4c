package mapping

import (
	"encoding/json"
	"fmt"
	"strings"
)

// gapsOf returns the times without measurement that a result of Owl's tells of,
// in owl.gaps: why there was none (reason), since when (start), and how long it
// lasted (seconds), null of one that goes on. Those are also what a page that
// shows gaps finds in failures, for Owl's results: beside error, in words, an
// array gaps of such objects.
func gapsOf(result object) []any {
	var all []any
	for _, e := range listOf(objectOf(result["owl"])["gaps"]) {
		g := objectOf(e)
		if reason, start := textOf(g["reason"]), textOf(g["start"]); reason != "" && start != "" {
			gap := map[string]any{"reason": reason, "start": start, "seconds": nil}
			if n, _, ok := numberOf(g["seconds"]); ok {
				gap["seconds"] = n
			}
			all = append(all, gap)
		}
	}
	return all
}

// addGaps adds the gaps before, or within, what was measured: a result that has
// succeeded tells of those that it ended.
func (v *values) addGaps(result object) {
	gaps := gapsOf(result)
	if len(gaps) == 0 {
		return
	}
	lines := make([]string, len(gaps))
	for i, e := range gaps {
		g := objectOf(e)
		lines[i] = fmt.Sprintf("no data since %s", textOf(g["start"]))
		if n, ok := g["seconds"].(json.Number); ok {
			lines[i] = fmt.Sprintf("no data from %s for %s s", textOf(g["start"]), n)
		}
		lines[i] += ": " + textOf(g["reason"])
	}
	v.add(failures, map[string]any{"error": strings.Join(lines, "\n"), "gaps": gaps})
}
