package owamp_test

import (
	"math"
	"testing"

	"owl/owamp"
)

func TestValidateSkips(t *testing.T) {
	type skips = []owamp.SkipRange
	for _, tt := range []struct {
		name             string
		skips            skips
		nextSeq, packets uint32
		want             string // "": valid
	}{
		{name: "nothing"},
		{name: "none", nextSeq: 10, packets: 10},
		{name: "early end", nextSeq: 3, packets: 10},
		{name: "all", skips: skips{{0, 9}}, nextSeq: 10, packets: 10},
		{name: "neighbours", skips: skips{{0, 0}, {1, 5}, {9, 9}}, nextSeq: 10, packets: 10},
		{name: "as of the reference", skips: skips{{82, 133}, {217, 243}}, nextSeq: 300, packets: 300},
		{name: "greatest", skips: skips{{0, math.MaxUint32 - 1}}, nextSeq: math.MaxUint32, packets: math.MaxUint32},
		{
			name: "beyond the session", nextSeq: 11, packets: 10,
			want: "next sequence number 11: want at most 10, the packets of the session",
		},
		{
			name: "backwards", skips: skips{{5, 4}}, nextSeq: 10, packets: 10,
			want: "skip range 5 to 4: want its end not before its begin",
		},
		{
			name: "beyond the last considered", skips: skips{{1, 2}, {5, 7}}, nextSeq: 7, packets: 10,
			want: "skip range 5 to 7: want its end below 7, the next sequence number",
		},
		{
			name: "beyond everything", skips: skips{{0, math.MaxUint32}}, nextSeq: 10, packets: 10,
			want: "skip range 0 to 4294967295: want its end below 10, the next sequence number",
		},
		{
			name: "overlapping", skips: skips{{1, 4}, {4, 5}}, nextSeq: 10, packets: 10,
			want: "skip range 4 to 5: want its begin above 4, the end of the range before",
		},
		{
			name: "unordered", skips: skips{{5, 6}, {1, 2}}, nextSeq: 10, packets: 10,
			want: "skip range 1 to 2: want its begin above 6, the end of the range before",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := owamp.ValidateSkips(tt.skips, tt.nextSeq, tt.packets)
			if tt.want == "" && err != nil {
				t.Fatal(err)
			}
			if tt.want != "" && (err == nil || err.Error() != tt.want) {
				t.Fatalf("%v, want %s", err, tt.want)
			}
		})
	}
}
