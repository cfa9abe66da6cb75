package redisstore

import (
	"crypto/sha1" // Redis names scripts by it
	_ "embed"
	"encoding/hex"
)

// A script is one of the .lua files. Each begins with what it takes and answers.
type script struct {
	body string
	sha  string
}

func newScript(body string) *script {
	sum := sha1.Sum([]byte(body))
	return &script{body: body, sha: hex.EncodeToString(sum[:])}
}

// scripts are what a layout of records consists of.
type scripts struct {
	claim, commit, release, extend, look *script
}

var (
	//go:embed claim.lua
	claimLua string
	//go:embed commit.lua
	commitLua string
	//go:embed release.lua
	releaseLua string
	//go:embed extend.lua
	extendLua string
	//go:embed look.lua
	lookLua string
	//go:embed count.lua
	countLua string

	//go:embed listener_claim.lua
	listenerClaimLua string
	//go:embed listener_commit.lua
	listenerCommitLua string
	//go:embed listener_release.lua
	listenerReleaseLua string
	//go:embed listener_extend.lua
	listenerExtendLua string
	//go:embed listener_look.lua
	listenerLookLua string

	ownScripts = scripts{
		claim: newScript(claimLua), commit: newScript(commitLua), release: newScript(releaseLua),
		extend: newScript(extendLua), look: newScript(lookLua),
	}
	listenerScripts = scripts{
		claim: newScript(listenerClaimLua), commit: newScript(listenerCommitLua), release: newScript(listenerReleaseLua),
		extend: newScript(listenerExtendLua), look: newScript(listenerLookLua),
	}
	countScript = newScript(countLua)
)
