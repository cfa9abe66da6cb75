// Package sabotage shows that the tests go red: a suite that never did proves
// nothing. It is a table of faults, wrong lines for right ones, each with the tests
// that have to notice it. Each fault is put into a copy of its files, the package of
// the test is built from the copy (go test -overlay), and the test has to fail, with
// the message that such a fault deserves. The code itself knows nothing of this.
//
//	make sabotage                                                                 all faults
//	FIRSTSEEN_SABOTAGE=1 go test ./internal/sabotage -v -run TestSabotage/AnswerEarly    one of them
//
// Whoever changes a line that the table names gets a failing TestTable in make test,
// and moves the fault to where the line went.
package sabotage
