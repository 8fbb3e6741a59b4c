// Package store keeps what a measurement archive has: metadata, values, the
// summaries of values over windows of time, and the keys of those who may write.
// It is one SQLite file, or a PostgreSQL database or one of its distributed kin;
// the schema is the same.
//
// # What is kept
//
// Values are kept as they came, one row each, ordered by metadata key, time and
// event type, so that what one request writes lies together. Of each window for
// which a summary is registered one row has the fold of all values in it
// ([series.Fold]), from which aggregation, average and statistics are made when
// they are read; summaries of window 0 are made of the values themselves.
//
// # Writing
//
// A write and all summaries that it changes are one transaction: whoever reads
// sees all of it or nothing, and so does who comes after a crash. It is on the disk
// when [Store.Write] returns. Writes that wait at the same time share a transaction,
// and with it the wait for the disk; one that is refused does not touch the others.
//
// Values may come late, in any order, and again. Of a number or a percentage the
// first value of a second stays: the same body again changes nothing, another
// value is a [ConflictError]. Of anything else the last one stays, and takes the
// place of the one before in all summaries. Where the values of a window are gone
// already ([Store.Prune]) its summaries stay, and a value that comes late is added
// to them; that it was there before can no longer be known.
//
// # Reading
//
// A series is read in parts of bounded size, each by a query of its own: a reader
// who is slow holds no transaction open, which would keep the log of an SQLite file
// from being taken back into it.
package store
