// Package manual makes manual pages in mdoc(7) out of what programs say of
// themselves and of the prose that people write beside it.
//
// What a program takes stands in one place, its help text; [ParseUsage] reads
// it, and a page has its synopsis and its options from there. What files and
// metrics are made of comes as lists of [Item] from those who know. A source of
// a page is mdoc with actions of package text/template in it:
//
//	{{synopsis}}      the options, for the synopsis
//	{{about}}         what the help text says of the program as a whole
//	{{options}}       the options one by one, under the headings of the help text
//	{{list "keys"}}   a list of items
//
// and in front of all that may come, for each option or item of which there is
// more to say than its one line,
//
//	{{define "-c"}}mdoc{{end}}
package manual
