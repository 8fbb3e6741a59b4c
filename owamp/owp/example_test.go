package owp_test

import (
	"fmt"
	"log"

	"owl/owamp/owp"
)

func Example() {
	r, err := owp.Open("testdata/skips/s2c.owp")
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	lost := 0
	for rec, err := range r.Records() {
		if err != nil {
			log.Fatal(err)
		}
		if rec.Lost() {
			lost++
		}
	}
	fmt.Println(r.Header().Finished, r.Len(), "records,", lost, "of them lost, not sent:", r.Skips())
	// Output: normal 300 records, 51 of them lost, not sent: [{75 124}]
}
