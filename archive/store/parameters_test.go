package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"owl/archive/series"
)

// A parameter is found however long it is.
func testLongParameters(t *testing.T, address string) {
	s, _ := openAt(t, address)
	r := rand.New(rand.NewPCG(1, 1)) // so that no database makes it shorter
	for _, n := range []int{0, 1024, 1025, series.MaxText} {
		text := make([]byte, n)
		for i := range text {
			text[i] = byte('a' + r.IntN(26))
		}
		m, err := series.ParseMetadata(fmt.Appendf(nil, `{"subject-type":"network-element","source":"192.0.2.1","measurement-agent":"192.0.2.1","tool-name":"t","input-source":"a","x":%q,"event-types":[{"event-type":"failures"}]}`, text))
		if err != nil {
			t.Fatal(err)
		}
		want := register(t, s, m).Key
		found, total, err := s.Search(t.Context(), &Filter{Parameters: map[string]string{"x": string(text)}, Limit: 10})
		if err != nil || total != 1 || found[0].Key != want || found[0].Parameters["x"] != string(text) {
			t.Errorf("of %d octets: %d found (%v), want it", n, total, err)
		}
	}
}
