// The plug is pulled fifty times while clients upload (C9); see kills.test.mjs.
import { test } from 'node:test';
import { scratch } from '../e2e/support/sonde.mjs';
import { killsUnderLoad } from './support/kills.mjs';

const dir = scratch();

test('fifty kills under a load of uploads', { timeout: 600_000 }, (t) => killsUnderLoad({ t, dir, kills: 50, clients: 6 }));
