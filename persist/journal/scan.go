package journal

import "errors"

// Scan reads as Replay does, with the same checks, and changes nothing: no new
// epoch begins. After it the journal can only be closed, not cleanly.
func (j *Journal) Scan(from Pos, apply func(f *Frame) error) (Replayed, error) {
	if err := j.leaveOpened(); err != nil {
		return Replayed{}, err
	}
	return j.read(from, apply)
}

// leaveOpened lets one Replay or Scan in. The journal counts as broken until begin has written
// the new epoch, so that a failed Replay is not followed by an Append.
func (j *Journal) leaveOpened() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.stage != stageOpened {
		return errors.New("journal: it was replayed or closed before")
	}
	j.mu.stage = stageBroken
	return nil
}

func (j *Journal) read(from Pos, apply func(f *Frame) error) (Replayed, error) {
	r := replayer{j: j, from: from, proven: j.proven(), read: ringReader{file: j.file, size: j.size, end: j.allocatedAtOpen}}
	r.out.Clean = j.head.clean || j.head.epoch == 0
	// An unknown boot id counts as another one: not to know is no proof that the power stayed.
	r.out.PowerLoss = !r.out.Clean && (j.head.boot != j.boot || j.boot == [16]byte{})
	if r.out.PowerLoss {
		r.out.MayHaveLost = j.head.mayLose()
	}
	err := r.run(apply)
	return r.out, err
}
