// The plug is pulled a dozen times while clients upload: nothing that was accepted is lost, nothing doubled (C9). The long
// form pulls it fifty times.
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { killsUnderLoad } from './support/kills.mjs';

const dir = scratch();

test('twelve kills under a load of uploads', { timeout: 120_000 }, (t) => killsUnderLoad({ t, dir, kills: 12 }));
