// Package stats folds the records of a session into what people and programs
// read of it.
//
// [Summarize] folds a session's records into a [Summary], and the Append…
// functions write it as the C owamp suite does, to the octet: the machine
// readable SUMMARY 3.00 of .sum files ([Summary.AppendMachine]), the report for
// people ([Summary.AppendReport]), and single records ([AppendRaw],
// [AppendVerbose]). That needs the suite's floating point arithmetic, which
// lives in reference.go and nowhere else.
//
// [Live] folds records as they arrive, in exact nanoseconds.
//
// The metrics are those of the IPPM documents: one-way delay (RFC 7679), loss
// (RFC 7680), duplication (RFC 5560), reordering (RFC 4737, and n-reordering in
// summaries), delay variation (RFC 5481) and loss patterns (RFC 3357).
package stats
