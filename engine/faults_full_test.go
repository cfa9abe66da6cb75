package engine

func childFull(c childConfig, out *childOutput) {}
