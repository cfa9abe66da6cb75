// Package vfstest looks at what tests of mapped files need to know of the kernel.
package vfstest
