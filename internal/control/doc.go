// Package control is the loop that joins what is known with what is done about it: on each node it observes the node's
// own instances, tells the other nodes, asks package failover for a judgement, keeps the journal of plans in the store
// and carries out this node's part of them. It is the only caller of engines, and the only one to say who is primary
// (Routes). It judges nothing itself but for one reflex: an instance that runs as a primary without authority is
// stopped.
package control
