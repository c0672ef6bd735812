/** Directory of this room's compiled files, CommonJS half of here.ts. */
export const here: string = __dirname;
