// Package result has the results of measurements as archives get them: a
// [Result] is what is known of one session, or of a part of it, or that there was
// none, and its JSON is the document that pScheduler hands to its archivers for a
// latencybg test by powstream, or a latency test by owping. Consumers of those
// find each member where they look for it; what Owl knows beyond is under one
// member of its own, "owl". docs/results.md describes the document.
//
// Counts are those of the packets, as RFC 7680, RFC 5560 and RFC 4737 define loss,
// duplication and reordering. Nothing passes through floating point that is not
// text of it: time stamps stay 64-bit integers, delays stay nanoseconds, and the
// bins of the histogram are those of the .sum file.
package result
