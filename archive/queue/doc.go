// Package queue keeps results until they are where they are wanted. It is one
// file, an SQLite database: what is in it outlives this process, and the host's
// loss of power.
//
// Results have an order, that of their coming. Each destination has a [Line],
// whose cursor says up to where all results are settled for it; a result that
// failed waits beside, with the time of its next try, or lies there dead. So a
// result that is delivered at once costs no more than itself, however many
// destinations there are, and a million that wait need room on the disk and none
// in memory. A result is deleted when all lines are past it and none has it
// waiting, and [Config.Keep] is over.
//
// What is put is on the disk, synced, before [Queue.Put] returns. That something
// is settled is in the file within milliseconds, so that it is known after the
// end of the process, and on the disk with the next result that is put: after a
// loss of power a few results are delivered again, and none is lost.
package queue
