//go:build !unix

package vfs

import "io/fs"

func allocated(info fs.FileInfo) int64 { return info.Size() }
