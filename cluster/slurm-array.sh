#!/bin/bash
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=08:00:00
# sbatch slurm-array.sh SLIDES BUNDLE OUT; afterwards: slidecam gather OUT
set -eu
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-4}"
exec slidecam predict "$1" --model "$2" --out "$3" --resume --json \
    --shard "${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}"
