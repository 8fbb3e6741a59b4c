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
//
// # The file
//
// A file is lines. A line that is blank, or whose first character that is not
// blank is #, is skipped. A \ as the last character of a line joins the next
// one to it; anywhere else it is an error. All other lines are one of
//
//	limit CLASS with [KEY=VALUE[, KEY=VALUE]…]
//	assign default CLASS
//	assign net ADDRESS[/LENGTH] CLASS
//	assign user NAME CLASS
//
// Words, keys and values may be in either case; names are told apart by it. A
// class is defined once, and before it is used. Its name has at most 80 octets
// and is fit to be the name of a directory, because the sessions of a class are
// kept in one: no slash, comma or equals sign, no blank, no dot in front.
//
// # Limits
//
// The first limit line defines the root of the tree. It has no parent; all
// others have one. A key that a class does not set has the value of its parent,
// by copy: a child of a class with disk=10g has 10 GB of its own. What the root
// does not set has its default.
//
//	parent            CLASS         the class above; the root has none
//	bandwidth         NUMBER   0    bits per second of all sessions together
//	disk              NUMBER   0    octets of all sessions kept on disk
//	test_sessions     NUMBER   0    sessions of one control connection at a time
//	allow_open_mode   on|off   on   open mode is offered
//	delete_on_fetch   on|off   off  a session that was fetched whole is deleted
//
// These are the keys of the C suite. Owl adds
//
//	fetch             creator|class|any  creator
//	                                who may fetch a session: who asked for it
//	                                (the same user, or in open mode the same
//	                                address), all peers of the same class, or
//	                                anyone who may connect
//	third_party       on|off   off  in open mode, tests toward another address
//	                                than that of the control connection
//	connection_rate   NUMBER   0    control connections of one peer a second
//	request_rate      NUMBER   0    requests of one peer a second, for sessions
//	                                and for what was recorded of them
//	packet_rate       NUMBER   0    packets a second of all sessions in which
//	                                this host sends; of the root only
//
// A NUMBER is decimal digits and at most one of the suffixes k, m, g, t, p, e
// and z, powers of 1000; 0 is unlimited. The limits of a class hold for it and
// for all below it, so that a session must fit at every level up to the root;
// a class is unlimited if the whole path to the root is. The two rates of a
// peer are an average: a peer that was silent may use up what it saved, at most
// ten seconds' worth. An IPv6 peer is its /64.
//
// # Assignments
//
// The class of a peer is the first of these that there is:
//
//  1. in authenticated and encrypted mode the class that has the name of the
//     user, else the one that the user is assigned;
//  2. the one that is assigned the longest net which holds the peer's address;
//  3. the default class;
//  4. the root.
//
// In a net all bits after the first LENGTH are zero, and LENGTH is at least 1;
// an address without it is a net of its own. IPv4 addresses mapped to IPv6
// count as IPv4.
//
// Everything that the C suite's manual allows is read, and means the same. It
// also passes over things that it does not understand (words after the end of
// a line, numbers of more than 64 bits), lets the later of two contradicting
// assignments win, and takes KEY VALUE without the equals sign. These are
// errors here, because an operator who wrote them meant something else than
// what would be in force.
package policy
