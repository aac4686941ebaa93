import express5 from 'express';
import express4 from 'express-4';
import { expressAdapter } from './express.ts';
import { testAdapter } from './suite.ts';

testAdapter(expressAdapter('Express 5', express5));
testAdapter(expressAdapter('Express 4', express4));
