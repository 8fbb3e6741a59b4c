// Package policy says who may ask a server for what: it reads the file
// owamp-server.limits, finds the limit class of a peer, and keeps account of
// what the sessions of each class hold.
//
//   - [Parse] reads the file into a tree of classes, [Limits], which does not
//     change. [Limits.Class] finds the class of a peer, [Limits.String] prints
//     what is in force.
//   - A [Ledger] reserves bandwidth, disk and sessions at every level from a
//     class up to the root, or at none. New limits can take the place of the
//     old while sessions run.
//   - [Rates] bounds how often one peer may connect or ask.
//   - [Passphrases] is the file owamp-server.pfs: who may authenticate.
//
// What the limits file says, and what its keys mean, docs/limits.md tells those
// who write it. Everything that the C suite's manual allows is read, and means
// the same. What the C suite passes over without understanding it is an error
// here, because an operator who wrote it meant something else than what would be
// in force.
package policy
