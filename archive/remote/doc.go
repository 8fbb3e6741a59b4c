// Package remote reads another measurement archive over esmond's REST interface:
// what it has measured, all values, and the summaries of what is so old that its
// values are gone. It asks one thing at a time, in pages, and waits if the archive
// says that it is busy.
//
// Two things the interface does not tell. Of a percentage it has the quotient
// only; the counts are found by how many packets were sent at that time, and else
// are the smallest that make the quotient. And of how many values a summary is made
// it does not say: that is found where both a sum and a mean are there.
package remote
