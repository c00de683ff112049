using System;

namespace Cloze
{
    /// <summary>Rows of numbers, one after another in one array.</summary>
    public sealed class Matrix
    {
        /// <summary>All numbers, row by row: [Rows x Columns]. Not a copy.</summary>
        public float[] Data { get; }

        /// <summary>Number of rows.</summary>
        public int Rows { get; }

        /// <summary>Numbers in a row.</summary>
        public int Columns { get; }

        /// <summary>A matrix of an array that holds whole rows.</summary>
        public Matrix(float[] data, int columns)
        {
            Data = data ?? throw new ArgumentNullException(nameof(data));
            if (columns < 0 || (columns == 0 ? data.Length != 0 : data.Length % columns != 0))
            {
                throw new ArgumentException($"{data.Length} numbers are no rows of {columns}", nameof(columns));
            }
            Columns = columns;
            Rows = columns == 0 ? 0 : data.Length / columns;
        }

        /// <summary>A number.</summary>
        public float this[int row, int column]
        {
            get
            {
                if ((uint)row >= (uint)Rows || (uint)column >= (uint)Columns)
                {
                    throw new IndexOutOfRangeException($"[{row}, {column}] of [{Rows}, {Columns}]");
                }
                return Data[row * Columns + column];
            }
        }

        /// <summary>A row, which is part of <see cref="Data"/>.</summary>
        public ArraySegment<float> Row(int row)
        {
            if ((uint)row >= (uint)Rows)
            {
                throw new ArgumentOutOfRangeException(nameof(row), row, $"row {row} of {Rows}");
            }
            return new ArraySegment<float>(Data, row * Columns, Columns);
        }

        /// <summary>A copy as [Rows, Columns].</summary>
        public float[,] ToArray()
        {
            var copy = new float[Rows, Columns];
            Buffer.BlockCopy(Data, 0, copy, 0, checked(Data.Length * sizeof(float)));
            return copy;
        }
    }
}
