package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// newRoot builds the command tree. A command is a file of its own and one line
// here.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "firstseen",
		Short: "Pass on what is seen for the first time",
		Long: `firstseen remembers keys for a window of time and answers one question about
them, never wrongly: has this key been seen?

Data goes to standard output, everything else to standard error. The exit code
is 0, 1 when something went wrong, or 2 when the command line makes no sense.`,
		Example: `  firstseen filter access.log > first.log
  tail -f events.jsonl | firstseen filter --key json:id --dir seen
  firstseen inspect seen`,
		Version:       version(),
		SilenceUsage:  true, // the text of a usage error names the command whose help to ask
		SilenceErrors: true, // run prints them
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.err) // no data was asked for
			_ = cmd.Help()
			return &exitError{code: exitUsage, err: errSilent}
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetVersionTemplate("firstseen {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	root.AddCommand(
		newFilter(a),
		newKafka(a),
		newInspect(a),
		newVerify(a),
		newRepair(a),
		newSoak(a),
		newSoakChild(a),
		newContains(a),
		newForget(a),
		newIntents(a),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// exactly is an Args check whose error names what is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("%s needs %s", cmd.CommandPath(), names[len(args)])
		case len(args) > len(names):
			return usagef("%s takes no further argument: %q", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}

// completeDir offers directories for the first argument and nothing for others.
func completeDir(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// version is the module's version, or the commit when it was built from a
// working tree.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v += " " + s.Value
			}
		}
	}
	return fmt.Sprintf("%s %s", v, info.GoVersion)
}
