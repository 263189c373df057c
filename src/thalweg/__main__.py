"""``python -m thalweg``, which is how ``torchrun -m thalweg run`` starts a process of a run."""

from thalweg.cli.main import main

if __name__ == "__main__":
    main()
