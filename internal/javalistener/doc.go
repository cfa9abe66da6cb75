// Package javalistener does to a store what RocketMQDedupListener was recorded to do
// on a real broker, for tests of what Java and Go consumers share: the commands and
// statements are Java's, one by one, in their order.
//
// Want is a Java consumer that gets a message and asks whether its handler is to
// run, Done one whose handler succeeded, Failed one whose handler failed. Whatever
// goes wrong ends the test. Any number of goroutines may call at once.
package javalistener
