/* The statistics of a window, as train/detail.py defines them, by the engine: for training, which
 * needs those of 156,000 windows, and for the engine's own test. */
#ifndef SONDE_TRAIN_NUMBERS_H
#define SONDE_TRAIN_NUMBERS_H

#include "nn/nn.h"

#define NUMBERS_WINDOW 61680 /* samples, 16 kHz mono */

/* How many they are. */
int numbers_count(void);
/* samples[NUMBERS_WINDOW], any alignment -> ret[numbers_count()]. 0, or -1: no memory, or for
 * NN_ISA_AUTO (the fastest set here) the environment names one that is not there. One thread at a
 * time. */
int numbers_of(enum nn_isa isa, const float *samples, float *ret);

#endif
