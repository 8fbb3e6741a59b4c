// Package histogram counts delays. [Fixed] has bins of one width and follows
// the rule of the C owamp suite, for the files and texts that carry its bins;
// [Live] has bins whose width grows with the value and exact integers
// throughout, for everything that is read while packets arrive.
//
// Neither locks: a histogram has one owner.
package histogram
